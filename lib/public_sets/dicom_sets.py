"""Reader of sets of DICOM series with RTSTRUCT or SEG objects, or with the XML files of LIDC-IDRI."""

from __future__ import annotations

import fnmatch
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.annotations import dicom_seg, lidc_xml, rtstruct
from lib.annotations.regions import NothingMarkedError, Region, check_drawn, select, union
from lib.datastore.series_grid import exact_grid
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid
from lib.public_sets.case import Case, CaseLabel, PublicSet, digest
from lib.public_sets.import_target import ImportTarget
from lib.public_sets.references import (
    LIDC_XML,
    RTSTRUCT,
    SEG,
    Annotation,
    dicom_annotations,
    lidc_annotations,
    series_of,
)


@dataclass(frozen=True)
class DicomSet:
    """A published set.

    Attributes:
        title: Title of the set.
        kinds: Kinds of its annotations, in order of preference for series with several kinds.
        published: Number of published units.
        unit: ``series`` or ``patients``.
    """

    title: str
    kinds: tuple[str, ...]
    published: int | None = None
    unit: str = "series"


SETS = {
    "lidc-idri": DicomSet("LIDC-IDRI", (LIDC_XML, SEG), 1018),
    "nsclc-radiomics": DicomSet("NSCLC-Radiomics", (RTSTRUCT, SEG), 422, "patients"),
    "4d-lung": DicomSet("4D-Lung", (RTSTRUCT,), 20, "patients"),
    "rtstruct": DicomSet("RTSTRUCT or SEG of a DICOM set", (RTSTRUCT, SEG)),
}
_READERS: dict[str, Callable[[Path, VoxelGrid], list[Region]]] = {
    RTSTRUCT: rtstruct.read_regions,
    SEG: dicom_seg.read_regions,
    LIDC_XML: lidc_xml.read_regions,
}
_ANY_GRID = VoxelGrid.from_geometry((1, 1, 1), (0, 0, 0), (1, 1, 1), np.eye(3))  # names do not depend on the image


def find_dicom_set(
    kind: str,
    source: Path,
    target: ImportTarget,
    rules: Mapping,
    wanted: Sequence[str],
    annotations: Path | None = None,
    files: Sequence[str] = (),
) -> PublicSet:
    """Find the series of a set and the annotations that refer to each.

    Args:
        kind: Key of :data:`SETS`.
        source: Absolute path of the set, which is also the studies folder.
        target: Opened on the set, and scanned.
        rules: ``imports`` of ``info.yaml``, which select the tumour regions.
        wanted: Names of the regions to use instead.
        annotations: Folder of the XML files, if not in ``source``.
        files: Shell patterns; only annotations whose path within ``source`` matches one are read.

    Raises:
        UserError: There are no annotations, or none matches.
    """
    described = SETS[kind]
    found, failures = dicom_annotations(source, target)
    if LIDC_XML in described.kinds:
        readings, unreadable = lidc_annotations(annotations or source)
        found += readings
        failures += unreadable
    found = [one for one in found if one.kind in described.kinds]
    if not found and not failures:
        where = annotations or source
        raise UserError(
            f"There is no {' or '.join(described.kinds)} file in {where}; was it downloaded with the images?"
        )
    if files:
        found = _matching(found, files, source)
    by_series: dict[str, list[Annotation]] = defaultdict(list)
    for one in found:
        try:
            by_series[series_of(one, target)].append(one)
        except UserError as error:
            failures.append((_relative_name(one.path, source), str(error)))
    cases = [
        _case(uid, _preferred(by_series[uid], described.kinds), source, target, rules, wanted)
        for uid in sorted(by_series)
    ]
    return PublicSet(kind, described.title, cases, failures, _counts(described, by_series, target))


def _counts(described: DicomSet, by_series: Mapping[str, object], target: ImportTarget) -> list[str]:
    usable = [series for series in target.datastore.catalog.all() if series.problem is None]
    patients = {series.value("PatientID") for series in usable}
    here = len(patients) if described.unit == "patients" else len(usable)
    published = f"{here} of {described.published} published {described.unit} are here. " if described.published else ""
    marked = sum(series.uid in by_series for series in usable)
    return [f"{published}{len(usable)} usable CT series of {len(patients)} patients, {marked} of them marked."]


def _preferred(annotations: list[Annotation], kinds: Sequence[str]) -> list[Annotation]:
    """Return the annotations of the preferred kind: a set may hold the same outlines as RTSTRUCT and as SEG."""
    first = min((one.kind for one in annotations), key=kinds.index)
    return [one for one in annotations if one.kind == first]


def _case(
    uid: str,
    annotations: list[Annotation],
    source: Path,
    target: ImportTarget,
    rules: Mapping,
    wanted: Sequence[str],
) -> Case:
    def check() -> bool:
        regions = {one.path: _READERS[one.kind](one.path, _ANY_GRID) for one in annotations}
        if unmarked(regions):
            return False
        check_drawn(_selected(regions, rules, wanted, source))
        return True

    def make_label(_: Path) -> CaseLabel | None:
        grid = exact_grid(target.series(uid), target.client)
        regions = {one.path: _READERS[one.kind](one.path, grid) for one in annotations}
        if unmarked(regions):
            return None
        chosen = _selected(regions, rules, wanted, source)
        try:
            mask = union(chosen)
        except NothingMarkedError:
            if annotations[0].kind == LIDC_XML:  # two readers drew nodules, but different ones
                return None
            raise
        warnings = [warning for region in chosen for warning in region.warnings]
        return CaseLabel(mask, tuple(region.name for region in chosen), "; ".join(warnings))

    def unmarked(regions: Mapping[Path, list[Region]]) -> bool:
        """Return whether fewer than two LIDC-IDRI readers outlined a nodule."""
        return annotations[0].kind == LIDC_XML and not any(regions.values())

    series = target.datastore.catalog.get(uid)
    patient = series.value("PatientID") if series else ""
    paths = [one.path for one in annotations]
    choice = (sorted(wanted), sorted((name, str(rule)) for name, rule in rules.items()))
    names = ", ".join(_relative_name(path, source) for path in paths)
    return Case(f"{patient} {uid}".strip(), uid, names, digest(paths, *choice), check, make_label)


def _selected(
    regions: Mapping[Path, list[Region]], rules: Mapping, wanted: Sequence[str], source: Path
) -> list[Region]:
    """Return the regions of the only object with accepted regions, or the wanted regions of all objects.

    Raises:
        UserError: No object or several objects have accepted regions, or several have a wanted region of the same
            name: they may be the outlines of different readers, whose union no reader drew.
    """
    accepted: dict[Path, list[Region]] = {}
    reasons = []
    if wanted:
        every = select([region for some in regions.values() for region in some], rules, wanted)
        for path, some in regions.items():
            if here := [region for region in some if any(region is one for one in every)]:
                accepted[path] = here
        names = Counter(region.name.lower() for some in accepted.values() for region in some)
        if max(names.values()) == 1 or len(accepted) == 1:
            return every
    else:
        for path, some in regions.items():
            try:
                accepted[path] = select(some, rules)
            except UserError as error:
                reasons.append(f"{_relative_name(path, source)}: {error}" if len(regions) > 1 else str(error))
    if len(accepted) == 1:
        return next(iter(accepted.values()))
    if not accepted:
        raise UserError(" ".join(reasons))
    named = "; ".join(
        f"{_relative_name(path, source)} has {', '.join(region.name for region in some)}"
        for path, some in accepted.items()
    )
    raise UserError(
        f"{len(accepted)} files mark a tumour on it: {named}. Choose the file with --files PATTERN, or the region "
        "with --roi NAME."
    )


def _matching(found: list[Annotation], patterns: Sequence[str], source: Path) -> list[Annotation]:
    kept = [
        one
        for one in found
        if any(fnmatch.fnmatchcase(_relative_name(one.path, source), pattern) for pattern in patterns)
    ]
    if not kept:
        raise UserError(f"None of the {len(found)} files with regions matches --files {' '.join(patterns)}.")
    return kept


def _relative_name(path: Path, source: Path) -> str:
    return str(path.relative_to(source)) if path.is_relative_to(source) else path.name
