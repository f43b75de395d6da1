"""The RTSTRUCT, DICOM SEG and XML files of LIDC-IDRI of a set, and which series each is about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from pydicom import dcmread

from lib.annotations.series_references import References
from lib.errors import UserError, in_one_line
from lib.initial_labels.marked_series import LIDC_XML, RTSTRUCT, SEG
from lib.public_sets.workplace import Workplace


@dataclass(frozen=True)
class Annotation:
    """A file with regions that others have marked.

    Attributes:
        path: Where it is.
        kind: RTSTRUCT, SEG or LIDC XML.
        references: What it is about.
    """

    path: Path
    kind: str
    references: References


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
                header = dcmread(instance.path, stop_before_pixels=True)
                found.append(Annotation(instance.path, kind, References.of(header)))
            except Exception as error:  # pydicom raises many kinds on damaged files
                failures.append((str(instance.path.relative_to(source)), f"damaged ({in_one_line(error)})"))
    return sorted(found, key=lambda one: one.path), failures


def lidc_annotations(folder: Path) -> list[Annotation]:
    """The XML files of CT readings; those of chest radiographs name no CT series and are left out."""
    paths = sorted(path for path in folder.rglob("*.xml") if not path.name.startswith("."))
    named = [(path, uid) for path in paths if (uid := _lidc_series(path))]
    return [Annotation(path, LIDC_XML, References(frozenset([uid]))) for path, uid in named]


def series_of(annotation: Annotation, workplace: Workplace) -> str:
    """SeriesInstanceUID of the usable series that an annotation is about; see :meth:`References.meant`.

    Raises:
        UserError: There is none, or more than one, or it lies in another frame of reference.
    """
    references = annotation.references
    meant = references.meant(workplace.datastore.catalog, workplace.client)
    for series in meant:
        if series.problem:
            raise UserError(f"its series {series.uid} cannot be used: {series.problem}")
    if len(meant) > 1:
        raise UserError(f"it refers to {len(meant)} series: {', '.join(series.uid for series in meant)}")
    if not meant:
        wanted = ", ".join(sorted(references.series)) or "that it does not name"
        raise UserError(f"the series {wanted} is not in the folder; was it not downloaded?")
    references.check_frame(meant[0], workplace.client)
    return meant[0].uid


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
