"""Catalog of the series of a folder or PACS, with the reason why unusable ones are excluded."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pydicom import Dataset
from pydicom.uid import generate_uid

from lib.datastore.label_store import IMAGE_ID
from lib.datastore.series_remarks import series_remarks
from lib.datastore.series_usability import SeriesUsability, check_image_file, check_series
from lib.dicomweb import attributes
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.frames import is_multi_frame
from lib.dicomweb.image_file import ImageFile
from lib.dicomweb.matching import first_value
from lib.dicomweb.pacs_client import PacsClient

logger = logging.getLogger(__name__)

_DicomJson = dict[str, dict[str, Any]]
_JUDGE_AGAIN_SECONDS = 300
_PUBLISH_SECONDS = 0.5  # after a start, series are listed while others are still being checked


class DicomwebClient(Protocol):
    """DICOMweb methods this app uses; the clients of a folder and of a PACS both have them."""

    base_url: str

    def search_for_series(
        self, *, fields: Sequence[str] | None = None, search_filters: dict[str, Any] | None = None
    ) -> list[_DicomJson]:
        """Search for series (QIDO-RS, PS3.18 10.6)."""

    def search_for_instances(
        self, study_instance_uid: str, series_instance_uid: str, *, fields: Sequence[str] | None = None
    ) -> list[_DicomJson]:
        """Search for the instances of a series (QIDO-RS, PS3.18 10.6)."""

    def retrieve_series_metadata(self, study_instance_uid: str, series_instance_uid: str) -> list[_DicomJson]:
        """Retrieve the attributes of all instances of a series (WADO-RS, PS3.18 10.4)."""


@dataclass(frozen=True)
class Series:
    """Catalog entry of a series.

    Attributes:
        uid: SeriesInstanceUID, the image id.
        study_uid: StudyInstanceUID.
        header: DICOM JSON of its study and series attributes.
        instance_count: Number of its instances.
        problem: Why it cannot be segmented; None if it can.
        warnings: Warnings for the user, one sentence each.
        file: NIfTI, NRRD or MetaImage file, if the series is one instead of DICOM instances.
        notes: Notes on SEG and RTSTRUCT objects that refer to it, one sentence each.
    """

    uid: str
    study_uid: str
    header: _DicomJson
    instance_count: int
    problem: str | None
    warnings: tuple[str, ...] = ()
    file: Path | None = None
    notes: tuple[str, ...] = ()

    def value(self, keyword: str) -> str:
        """Return the first value of an attribute, or an empty string."""
        return first_value(self.header, keyword)

    @property
    def is_dicom(self) -> bool:
        """Whether the series consists of DICOM instances, which OHIF can show."""
        return self.file is None

    @property
    def left_out(self) -> bool:
        """Whether to report the series as excluded; SEG and RTSTRUCT are no candidates and not reported."""
        return self.problem is not None and self.value("Modality") not in ("SEG", "RTSTRUCT")


class SeriesCatalog:
    """Snapshot of all series, refreshed from the client; reading it never blocks.

    A series is checked once, and again when its files or its number of instances change, so an unchanged series costs
    no request to the PACS. A series whose check failed, or whose number of instances the PACS does not return, is
    checked again after a while.

    Args:
        client: DICOMweb client of the folder or PACS.
        search_filters: QIDO-RS filters of the series to list.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        client: DicomwebClient,
        search_filters: dict[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client
        self._search_filters = search_filters
        self._series: dict[str, Series] = {}
        self._notes: dict[str, tuple[str, ...]] = {}
        self._clock = clock
        self._judge_again: dict[str, float] = {}  # clock time of the next check, by UID
        self._remarks: dict[str, SeriesUsability] = {}
        self._of_voxels: dict[str, tuple[str, ...]] = {}
        self._studies: tuple[object, object, Mapping[str, str]] | None = None
        self._refresh_lock = threading.Lock()

    def refresh(self) -> None:
        """Refresh the snapshot from the client. A series whose check fails does not stop the others."""
        with self._refresh_lock:
            changed: set[str] = set()
            if isinstance(self.client, FolderClient):
                changed = self.client.index.take_changed_series()
            try:
                self._refresh(changed)
            except BaseException:  # the changed series are checked at the next refresh
                if isinstance(self.client, FolderClient):
                    self.client.index.note_changed_series(changed)
                raise

    def _refresh(self, changed: set[str]) -> None:
        known, published = self._series, time.monotonic()
        series: dict[str, Series] = {}
        headers = self.client.search_for_series(
            fields=["NumberOfSeriesRelatedInstances"], search_filters=self._search_filters
        )
        self._remarks = series_remarks(headers, self._left_out())
        for header in headers:
            uid, study_uid = first_value(header, "SeriesInstanceUID"), first_value(header, "StudyInstanceUID")
            count = int(first_value(header, "NumberOfSeriesRelatedInstances") or 0)
            former = known.get(uid)
            same = former and former.instance_count == count and uid not in changed
            if former and same and self._clock() < self._judge_again.get(uid, math.inf):
                series[uid] = former if former.header == header else replace(former, header=header)
            else:
                self._judge_again.pop(uid, None)
                if not count:
                    self._judge_again[uid] = self._clock() + _JUDGE_AGAIN_SECONDS
                verdict = self._judge(header, study_uid, uid)
                series[uid] = Series(uid, study_uid, header, count, verdict.problem, verdict.warnings)
                if time.monotonic() - published > _PUBLISH_SECONDS:  # each time copies the whole list
                    self._series, published = {**known, **series}, time.monotonic()
        if isinstance(self.client, FolderClient):
            series.update((image.uid, _as_series(image, self.client)) for image in self.client.images())
        else:  # for a PACS, the excluded images of its series are known only now
            self._remarks = series_remarks(headers, self._left_out())
        self._series = series

    def _left_out(self) -> Mapping[str, Sequence[tuple[Path, str]]]:
        return self.client.left_out() if isinstance(self.client, FolderClient | PacsClient) else {}

    def all(self) -> list[Series]:
        """Return every series, usable or not."""
        return [self._noted(series) for series in self._series.values()]

    def images(self) -> list[str]:
        """Return the SeriesInstanceUIDs of the series that can be segmented."""
        return [series.uid for series in self.all() if series.problem is None]

    def studies_of_images(self) -> Mapping[str, str]:
        """Return the StudyInstanceUID of each series that can be segmented; made once for each refresh."""
        series, remarks = self._series, self._remarks
        known = self._studies
        if known is None or known[0] is not series or known[1] is not remarks:
            known = series, remarks, {one.uid: one.study_uid for one in self.all() if one.problem is None}
            self._studies = known
        return known[2]

    def get(self, uid: str) -> Series | None:
        """Return a series by its SeriesInstanceUID, or None."""
        series = self._series.get(uid)
        return series and self._noted(series)

    def ambiguous(self) -> dict[str, str]:
        """Return the reason for each series that is excluded because its patient or its images are ambiguous."""
        return {uid: remark.problem for uid, remark in self._remarks.items() if remark.problem}

    def put(self, series: Series) -> None:
        """Add a series that another process has listed and checked."""
        self._series = {**self._series, series.uid: series}

    def note(self, uid: str, sentence: str) -> None:
        """Add a note to a series unless it already has it."""
        notes = self._notes.get(uid, ())
        self._notes[uid] = notes if sentence in notes else (*notes, sentence)

    def set_warnings(self, uid: str, warnings: Sequence[str]) -> None:
        """Set the warnings found in the voxels, which are read only after a series is listed."""
        if warnings or uid in self._of_voxels:
            self._of_voxels[uid] = tuple(warnings)

    def _noted(self, series: Series) -> Series:
        remark = self._remarks.get(series.uid, SeriesUsability())
        return replace(
            series,
            problem=remark.problem or series.problem,
            warnings=(*series.warnings, *remark.warnings, *self._of_voxels.get(series.uid, ())),
            notes=self._notes.get(series.uid, ()),
        )

    def _judge(self, header: _DicomJson, study_uid: str, uid: str) -> SeriesUsability:
        if not IMAGE_ID.fullmatch(uid):  # it becomes part of file names
            return SeriesUsability(f"its Series Instance UID {uid[:64]!r} is invalid")
        modality = first_value(header, "Modality")
        if modality != "CT":
            return check_series(modality, [])
        try:
            instances = self.client.search_for_instances(study_uid, uid, fields=attributes.INSTANCE)
            if is_multi_frame(instances):
                instances = self.client.retrieve_series_metadata(study_uid, uid)
            return check_series(modality, instances)
        except Exception as error:  # one malformed series must not hide the others
            logger.warning("Series %s could not be checked: %s", uid, error)
            self._judge_again[uid] = self._clock() + _JUDGE_AGAIN_SECONDS
            return SeriesUsability(f"its instances could not be listed: {error}")


def _as_series(image: ImageFile, client: FolderClient) -> Series:
    """Return the catalog entry of an image file, with generated study and series attributes.

    Its patient is its path in the folder: files of two patients may both be called ct.nii.gz.
    """
    study_uid = generate_uid(entropy_srcs=["study", image.uid])
    header = Dataset()
    header.StudyInstanceUID, header.SeriesInstanceUID, header.Modality = study_uid, image.uid, "CT"
    header.SeriesDescription = image.path.name
    patient = {"vr": "LO", "Value": [str(image.path.with_name(image.name).relative_to(client.root))]}
    verdict = check_image_file(image)
    values: _DicomJson = {**header.to_json_dict(), "00100020": patient}
    return Series(image.uid, study_uid, values, image.size[-1], verdict.problem, verdict.warnings, image.path)
