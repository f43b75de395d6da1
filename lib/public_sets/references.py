"""RTSTRUCT, DICOM SEG and LIDC-IDRI XML files of a set, and the series that each refers to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from pydicom import dcmread

from lib.annotations.series_references import References
from lib.errors import UserError, in_one_line
from lib.initial_labels.annotation_labels import LIDC_XML, RTSTRUCT, SEG
from lib.public_sets.import_target import ImportTarget


@dataclass(frozen=True)
class Annotation:
    """A file with annotated regions.

    Attributes:
        path: Path of the file.
        kind: RTSTRUCT, SEG or LIDC XML.
        references: The images that it refers to.
    """

    path: Path
    kind: str
    references: References


def dicom_annotations(source: Path, target: ImportTarget) -> tuple[list[Annotation], list[tuple[str, str]]]:
    """Return the RTSTRUCT and SEG files of a folder, without those in the workspace, and the unreadable ones."""
    found, failures = [], []
    for series in target.datastore.catalog.all():
        kind = series.value("Modality")
        if kind not in (RTSTRUCT, SEG) or series.file:
            continue
        for instance in target.client.index.instances(series.uid):
            if not instance.path.is_relative_to(source):
                continue
            try:
                header = dcmread(instance.path, stop_before_pixels=True)
                found.append(Annotation(instance.path, kind, References.of(header)))
            except Exception as error:  # pydicom raises many kinds on damaged files
                failures.append((str(instance.path.relative_to(source)), f"damaged ({in_one_line(error)})"))
    return sorted(found, key=lambda one: one.path), failures


def lidc_annotations(folder: Path) -> tuple[list[Annotation], list[tuple[str, str]]]:
    """Return the XML files with CT annotations, and the unreadable ones.

    Those of chest radiographs reference no CT series and are skipped, as are files that are no XML.
    """
    found, failures = [], []
    for path in sorted(path for path in folder.rglob("*.xml") if not path.name.startswith(".") and not path.is_dir()):
        try:
            if uid := _lidc_series(path):
                found.append(Annotation(path, LIDC_XML, References(frozenset([uid]))))
        except OSError as error:
            failures.append((str(path.relative_to(folder)), f"cannot be read ({error.strerror})"))
    return found, failures


def series_of(annotation: Annotation, target: ImportTarget) -> str:
    """Return the SeriesInstanceUID of the usable series of an annotation; see :meth:`References.find_series`.

    Raises:
        UserError: There is none, or more than one, or it has another frame of reference.
    """
    references = annotation.references
    found = references.find_series(target.datastore.catalog, target.client)
    for series in found:
        if series.problem:
            raise UserError(f"its series {series.uid} cannot be used: {series.problem}")
    if len(found) > 1:
        raise UserError(f"it refers to {len(found)} series: {', '.join(series.uid for series in found)}")
    if not found:
        if references.series:
            wanted = ", ".join(sorted(references.series))
            raise UserError(f"the series {wanted} is not in the folder; was it downloaded?")
        raise UserError("it references no series, and no series of the folder matches it")
    references.check_frame(found[0], target.client)
    return found[0].uid


def _lidc_series(path: Path) -> str | None:
    """Return the SeriesInstanceUid of the ResponseHeader; None if it has none or the file is not XML."""
    try:
        for _, element in ElementTree.iterparse(path):
            name = element.tag.rpartition("}")[2]
            if name == "SeriesInstanceUid":
                return (element.text or "").strip() or None
            if name == "ResponseHeader":
                return None
    except (ElementTree.ParseError, LookupError, ValueError):  # the latter for an encoding that Expat does not have
        return None
    return None
