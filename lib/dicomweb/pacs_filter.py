"""What a PACS has and viewers are not shown: images that are no slices of their series, studies that mix patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lib.dicomweb.matching import first_value
from lib.dicomweb.pacs_client import PacsClient

_DicomJson = dict[str, dict[str, Any]]


class _Catalog(Protocol):
    def unclear(self) -> Mapping[str, str]: ...

    def all(self) -> Sequence[Any]: ...


class PacsFilter:
    """Hide what viewers must not see of a PACS, as the catalog knows it now.

    Args:
        client: Of the PACS.
        catalog: Its series; ``unclear`` are those whose patient or images are ambiguous.
    """

    def __init__(self, client: object, catalog: _Catalog) -> None:
        self._client = client
        self._catalog = catalog

    def hidden_studies(self) -> dict[str, str]:
        """Return the studies of which all series are unclear, as those that mix patients, with the reason."""
        unclear = self._catalog.unclear()
        if not unclear:
            return {}
        series = self._catalog.all()
        clear = {one.study_uid for one in series if one.uid not in unclear}
        return {one.study_uid: unclear[one.uid] for one in series if one.uid in unclear and one.study_uid not in clear}

    def hides_anything(self) -> bool:
        """Return whether there is something to hide at all."""
        return bool(self._catalog.unclear() or self._hidden_instances())

    def visible(self, items: list[_DicomJson]) -> list[_DicomJson]:
        """Return the items of an answer in DICOM JSON that may be shown."""
        studies, series, instances = self.hidden_studies(), self._catalog.unclear(), self._hidden_instances()
        return [
            item
            for item in items
            if first_value(item, "StudyInstanceUID") not in studies
            and first_value(item, "SeriesInstanceUID") not in series
            and first_value(item, "SOPInstanceUID") not in instances
        ]

    def _hidden_instances(self) -> set[str]:
        left_out = self._client.left_out() if isinstance(self._client, PacsClient) else {}
        return {path.name for files in left_out.values() for path, _ in files}
