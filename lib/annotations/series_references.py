"""Which series a DICOM SEG (PS3.3 C.8.20, C.12.2.1) or RTSTRUCT (C.8.8.5) is about, from what its header says.

Writers leave much out: 3D Slicer 4.3 names the images but not their series, others name only the frame of reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset

from lib.datastore.catalog import Series, SeriesCatalog
from lib.dicomweb.matching import first_value
from lib.errors import UserError


@dataclass(frozen=True)
class References:
    """What an object refers to.

    Attributes:
        series: SeriesInstanceUIDs.
        instances: SOPInstanceUIDs of images; only where no series is named.
        frames: FrameOfReferenceUIDs.
        study: Its own StudyInstanceUID.
    """

    series: frozenset[str]
    instances: frozenset[str] = frozenset()
    frames: frozenset[str] = frozenset()
    study: str = ""

    @classmethod
    def of(cls, header: Dataset) -> References:
        """Read them from the header of a SEG or RTSTRUCT."""
        items = list(_series_items(header))
        series = _uids(items, "SeriesInstanceUID")
        frames = _uids([header, *(header.get("ReferencedFrameOfReferenceSequence") or [])], "FrameOfReferenceUID")
        images = frozenset() if series else _uids(_image_items(header, items), "ReferencedSOPInstanceUID")
        return cls(series, images, frames, str(header.get("StudyInstanceUID") or ""))

    def meant(self, catalog: SeriesCatalog, client: Any) -> list[Series]:
        """The series that are meant and are here, usable or not.

        Those that are named; else the usable ones of the study that have the images; else the only usable ones of
        the study in the frame of reference (PS3.3 C.7.4.1).

        Args:
            catalog: What there is.
            client: Of the folder or PACS; only asked where no series is named.
        """
        if self.series:
            return [series for uid in sorted(self.series) if (series := catalog.get(uid))]
        study = [
            series
            for series in catalog.all()
            if series.problem is None and series.study_uid == self.study and not series.file
        ]
        if self.instances:
            return [series for series in study if not self.instances.isdisjoint(_instances(client, series))]
        return [series for series in study if _frame_of_reference(client, series) in self.frames]

    def check_frame(self, series: Series, client: Any) -> None:
        """Refuse an object that lies in another frame of reference than its series.

        Raises:
            UserError: It does.
        """
        if self.frames and (_frame_of_reference(client, series) or None) not in {None, *self.frames}:
            raise UserError("It lies in another frame of reference than the series, so where is not known.")


def _frame_of_reference(client: Any, series: Series) -> str:
    """FrameOfReferenceUID of a series, empty where it has none."""
    for instance in client.search_for_instances(series.study_uid, series.uid):
        sop = first_value(instance, "SOPInstanceUID")
        return first_value(client.retrieve_instance_metadata(series.study_uid, series.uid, sop), "FrameOfReferenceUID")
    return ""


def _series_items(header: Dataset) -> Iterator[Dataset]:
    """The items that stand for a series; some name it."""
    yield from header.get("ReferencedSeriesSequence") or []
    for frame in header.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            yield from study.get("RTReferencedSeriesSequence") or []


def _image_items(header: Dataset, series_items: list[Dataset]) -> Iterator[Dataset]:
    """The items that stand for an image."""
    for item in series_items:
        yield from item.get("ReferencedInstanceSequence") or []
        yield from item.get("ContourImageSequence") or []
    yield from header.get("SourceImageSequence") or []
    groups = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
    for group in (one for name in groups for one in header.get(name) or []):
        for derivation in group.get("DerivationImageSequence") or []:
            yield from derivation.get("SourceImageSequence") or []
    for contours in header.get("ROIContourSequence") or []:
        for contour in contours.get("ContourSequence") or []:
            yield from contour.get("ContourImageSequence") or []


def _instances(client: Any, series: Series) -> set[str]:
    return {first_value(one, "SOPInstanceUID") for one in client.search_for_instances(series.study_uid, series.uid)}


def _uids(items: Any, keyword: str) -> frozenset[str]:
    return frozenset(str(item.get(keyword) or "") for item in items) - {""}
