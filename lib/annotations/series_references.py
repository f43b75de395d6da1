"""The series that a DICOM SEG (PS3.3 C.8.20, C.12.2.1) or RTSTRUCT (C.8.8.5) refers to, from its header.

Writers omit much: 3D Slicer 4.3 references the images but not their series, others only the frame of reference.
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
    """References of an object to the images it was drawn on.

    Attributes:
        series: SeriesInstanceUIDs.
        instances: SOPInstanceUIDs of images; only if no series is referenced.
        frames: FrameOfReferenceUIDs.
        study: StudyInstanceUID of the object itself.
    """

    series: frozenset[str]
    instances: frozenset[str] = frozenset()
    frames: frozenset[str] = frozenset()
    study: str = ""

    @classmethod
    def of(cls, header: Dataset) -> References:
        """Read the references from the header of a SEG or RTSTRUCT."""
        items = list(_series_items(header))
        series = _uids(items, "SeriesInstanceUID")
        frames = _uids([header, *(header.get("ReferencedFrameOfReferenceSequence") or [])], "FrameOfReferenceUID")
        images = frozenset() if series else _uids(_image_items(header, items), "ReferencedSOPInstanceUID")
        return cls(series, images, frames, str(header.get("StudyInstanceUID") or ""))

    def find_series(self, catalog: SeriesCatalog, client: Any) -> list[Series]:
        """Return the referenced series that exist in the catalog, usable or not.

        Looks up the referenced series; if there are none, the usable series of the study that contain the referenced
        images; else the usable series of the study in the frame of reference (PS3.3 C.7.4.1).

        Args:
            catalog: The known series.
            client: Client of the folder or PACS; queried only if no series is referenced.
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
        """Check that the object and a series share a frame of reference.

        Raises:
            UserError: They do not.
        """
        if self.frames and (_frame_of_reference(client, series) or None) not in {None, *self.frames}:
            raise UserError("The object has another frame of reference than the series, so its position is unknown.")


def _frame_of_reference(client: Any, series: Series) -> str:
    """Return the FrameOfReferenceUID of a series, empty if it has none."""
    for instance in client.search_for_instances(series.study_uid, series.uid):
        sop = first_value(instance, "SOPInstanceUID")
        return first_value(client.retrieve_instance_metadata(series.study_uid, series.uid, sop), "FrameOfReferenceUID")
    return ""


def _series_items(header: Dataset) -> Iterator[Dataset]:
    """Yield the sequence items that represent a series; not all have its UID."""
    yield from header.get("ReferencedSeriesSequence") or []
    for frame in header.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            yield from study.get("RTReferencedSeriesSequence") or []


def _image_items(header: Dataset, series_items: list[Dataset]) -> Iterator[Dataset]:
    """Yield the sequence items that represent an image."""
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
