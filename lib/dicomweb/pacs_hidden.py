"""What a PACS has and viewers are not shown: images that are none of a scan's slices, studies that mix patients."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from dicomweb_client import DICOMwebClient
from monailabel.datastore.dicom import DICOMwebClientX
from pydicom import Dataset

from lib.dicomweb import attributes
from lib.dicomweb.image_kind import ImageKind, odd_ones
from lib.dicomweb.matching import first_value
from lib.dicomweb.set_aside import ODD

_DicomJson = dict[str, dict[str, Any]]
_Instance = TypeVar("_Instance")


class PacsClient(DICOMwebClientX):
    """MONAI Label's DICOMweb client, which leaves out of each CT series what is no slice of it.

    A folder's index does so too (:mod:`lib.dicomweb.set_aside`). A series is judged whenever its instances are searched
    for with `attributes.INSTANCE`, as the catalog does before anything is made of it.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._odd: dict[str, dict[str, str]] = {}  # by SeriesInstanceUID: the reason by SOPInstanceUID
        self._odd_lock = threading.Lock()

    def search_for_instances(
        self, study_instance_uid: str | None = None, series_instance_uid: str | None = None, **query: Any
    ) -> list[_DicomJson]:
        """QIDO-RS search for instances, without those that are left out."""
        found = super().search_for_instances(study_instance_uid, series_instance_uid, **query)
        if series_instance_uid and query.get("fields") == attributes.INSTANCE:
            self._judge(series_instance_uid, found)
        return self._kept(series_instance_uid, found, lambda one: first_value(one, "SOPInstanceUID"))

    def retrieve_series_metadata(self, study_instance_uid: str, series_instance_uid: str) -> list[_DicomJson]:
        """WADO-RS metadata of a series, without that of instances that are left out."""
        found = super().retrieve_series_metadata(study_instance_uid, series_instance_uid)
        return self._kept(series_instance_uid, found, lambda one: first_value(one, "SOPInstanceUID"))

    def retrieve_series(self, study_instance_uid: str, series_instance_uid: str, **options: Any) -> list[Dataset]:
        """WADO-RS: the instances of a series, without those that are left out."""
        found = super().retrieve_series(study_instance_uid, series_instance_uid, **options)
        return self._kept(series_instance_uid, found, lambda one: str(one.SOPInstanceUID))

    def left_out(self) -> dict[str, list[tuple[Path, str]]]:
        """Return the SOPInstanceUIDs that are left out of each series, with the reason; as a folder's index does."""
        with self._odd_lock:
            return {
                series: [(Path(uid), ODD + reason) for uid, reason in sorted(odd.items())]
                for series, odd in self._odd.items()
            }

    def _judge(self, series_uid: str, instances: Sequence[_DicomJson]) -> None:
        kinds = {first_value(one, "SOPInstanceUID"): ImageKind.of("CT", one) for one in instances}
        odd = odd_ones(Counter(kinds.values()))
        with self._odd_lock:
            self._odd.pop(series_uid, None)
            if found := {uid: odd[kind] for uid, kind in kinds.items() if kind in odd}:
                self._odd[series_uid] = found

    def _kept(
        self, series_uid: str | None, instances: list[_Instance], uid_of: Callable[[_Instance], str]
    ) -> list[_Instance]:
        with self._odd_lock:
            odd = self._odd.get(series_uid or "")
        return [one for one in instances if uid_of(one) not in odd] if odd else instances


class _Catalog(Protocol):
    def unclear(self) -> Mapping[str, str]: ...

    def all(self) -> Sequence[Any]: ...


class Hidden:
    """What the proxy does not pass on, as the catalog knows it now.

    Args:
        client: Of the PACS.
        catalog: Its series; ``unclear`` are those of which it is not clear whose they are.
    """

    def __init__(self, client: DICOMwebClient, catalog: _Catalog) -> None:
        self._client = client
        self._catalog = catalog

    def studies(self) -> dict[str, str]:
        """Return the studies of which all series are unclear, as those that mix patients, with the reason."""
        unclear = self._catalog.unclear()
        if not unclear:
            return {}
        series = self._catalog.all()
        clear = {one.study_uid for one in series if one.uid not in unclear}
        return {one.study_uid: unclear[one.uid] for one in series if one.uid in unclear and one.study_uid not in clear}

    def anything(self) -> bool:
        """Whether there is something to hide at all."""
        return bool(self._catalog.unclear() or self._instances())

    def without(self, items: list[_DicomJson]) -> list[_DicomJson]:
        """Return what may be shown of an answer in DICOM JSON."""
        studies, series, instances = self.studies(), self._catalog.unclear(), self._instances()
        return [
            item
            for item in items
            if first_value(item, "StudyInstanceUID") not in studies
            and first_value(item, "SeriesInstanceUID") not in series
            and first_value(item, "SOPInstanceUID") not in instances
        ]

    def _instances(self) -> set[str]:
        left_out = self._client.left_out() if isinstance(self._client, PacsClient) else {}
        return {path.name for files in left_out.values() for path, _ in files}
