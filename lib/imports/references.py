"""Which series an RTSTRUCT, a DICOM SEG or an XML file of LIDC-IDRI is about, from what it refers to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from pydicom import Dataset, dcmread

from lib.errors import UserError, in_one_line
from lib.imports.marked_series import LIDC_XML, RTSTRUCT, SEG, referenced_series
from lib.imports.workplace import Workplace

_TAGS = ["ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence", "FrameOfReferenceUID", "StudyInstanceUID"]


@dataclass(frozen=True)
class Annotation:
    """A file with regions that others have marked.

    Attributes:
        path: Where it is.
        kind: RTSTRUCT, SEG or LIDC XML.
        series: SeriesInstanceUIDs that it names.
        frames: FrameOfReferenceUIDs that it names.
        study: StudyInstanceUID of a DICOM object.
    """

    path: Path
    kind: str
    series: frozenset[str]
    frames: frozenset[str] = frozenset()
    study: str = ""


def dicom_annotations(source: Path, workplace: Workplace) -> tuple[list[Annotation], list[tuple[str, str]]]:
    """The RTSTRUCT and SEG objects of a folder, not those that this app keeps; and those that cannot be read."""
    found, failures = [], []
    for series in workplace.datastore.catalog.all():
        kind = series.value("Modality")
        if kind not in (RTSTRUCT, SEG) or series.file:
            continue
        for instance in workplace.client.index.instances(series.uid):
            if not instance.path.is_relative_to(source):
                continue
            try:
                found.append(_references(instance.path, kind))
            except Exception as error:  # pydicom raises many kinds on damaged files
                failures.append((str(instance.path.relative_to(source)), f"damaged ({in_one_line(error)})"))
    return sorted(found, key=lambda one: one.path), failures


def lidc_annotations(folder: Path) -> list[Annotation]:
    """The XML files of CT readings; those of chest radiographs name no CT series and are left out."""
    paths = sorted(path for path in folder.rglob("*.xml") if not path.name.startswith("."))
    return [Annotation(path, LIDC_XML, frozenset([uid])) for path in paths if (uid := _lidc_series(path))]


def series_of(annotation: Annotation, workplace: Workplace) -> str:
    """SeriesInstanceUID of the usable series that an annotation is about.

    The series that it names counts; where it names none that is here, the only one of its study in its frame of
    reference (PS3.3 C.7.4.1).

    Raises:
        UserError: There is none, or more than one.
    """
    catalog = workplace.datastore.catalog
    for uid in sorted(annotation.series):
        series = catalog.get(uid)
        if series and series.problem:
            raise UserError(f"its series {uid} cannot be used: {series.problem}")
    named = [uid for uid in sorted(annotation.series) if catalog.get(uid)]
    if not named and not annotation.series:
        named = _in_frame(annotation, workplace)
    if len(named) == 1:
        return named[0]
    if named:
        raise UserError(f"it refers to {len(named)} series: {', '.join(named)}")
    wanted = ", ".join(sorted(annotation.series)) or "that it does not name"
    raise UserError(f"the series {wanted} is not in the folder; was it not downloaded?")


def _in_frame(annotation: Annotation, workplace: Workplace) -> list[str]:
    return [
        series.uid
        for series in workplace.datastore.catalog.all()
        if series.problem is None
        and series.study_uid == annotation.study
        and not series.file
        and _frame_of_reference(workplace.client.index.instances(series.uid)[0].path) in annotation.frames
    ]


def _frame_of_reference(path: Path) -> str:
    return _uid(dcmread(path, stop_before_pixels=True, specific_tags=["FrameOfReferenceUID"]), "FrameOfReferenceUID")


def _references(path: Path, kind: str) -> Annotation:
    header = dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    frames = header.get("ReferencedFrameOfReferenceSequence") or []
    return Annotation(
        path,
        kind,
        frozenset(_uid(one, "SeriesInstanceUID") for one in referenced_series(header)) - {""},
        frozenset(_uid(one, "FrameOfReferenceUID") for one in (header, *frames)) - {""},
        _uid(header, "StudyInstanceUID"),
    )


def _uid(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "")


def _lidc_series(path: Path) -> str | None:
    """SeriesInstanceUid of the ResponseHeader; None where there is none, or no XML."""
    try:
        for _, element in ElementTree.iterparse(path):
            name = element.tag.rpartition("}")[2]
            if name == "SeriesInstanceUid":
                return (element.text or "").strip() or None
            if name == "ResponseHeader":
                return None
    except ElementTree.ParseError:
        return None
    return None
