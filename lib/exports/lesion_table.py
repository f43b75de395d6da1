"""Table of the lesions of a mask: size, density, position and confidence of each."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial import ConvexHull, distance

from lib.datastore.lesion_numbers import NumberedLesion, lesion_components, number_lesions
from lib.geometry.voxel_grid import VoxelGrid
from lib.inference.findings import Finding, finding_at_each_component
from lib.transforms.volume_lungs import find_volume_lungs

DEFINITIONS = {
    "number": "of the lesion, from 1: the same in all labels of the image. 0 for a finding that was rejected and for a "
    "measurement beside all lesions, which have no voxels",
    "lesion": "voxels of one label that touch each other, corners included (26 neighbours)",
    "longest_diameter_mm": "in the axial section where it is longest, between the outer edges of the pixels",
    "perpendicular_diameter_mm": "extent at right angles to the longest diameter, in the same section",
    "mean_hu": "over all voxels of the lesion",
    "x_mm, y_mm, z_mm": "centre of mass, DICOM patient coordinates: to the patient's left, back and head",
    "side": "of the patient, by the middle of the body around the lungs, over 10 mm from it; else midline. Empty where "
    "no lungs are seen.",
    "slice": "number, from 1 in the order of the exported volume, of the slice of the series that is nearest to the "
    "centre of mass",
    "confidence": "of the model that what it marked there is a lesion, from 0 to 1; it says nothing about malignancy. "
    "Empty for a lesion that the model did not mark.",
    "state": "proposed by the model and left as it is, accepted or rejected by the reader, added by the reader, or "
    "measured: a measurement beside all lesions. Empty if the label was not made in this app's viewer.",
    "texture": "solid, part_solid or ground_glass, as the reader said",
    "note": "of the reader on the finding",
    "ruler_long_mm, ruler_short_mm": "as the reader drew them: the longest bidirectional measurement (RECIST) of the "
    "lesion, or else the longest length, which has no short axis",
    "tracking_uid": "of the lesion, the same in all labels of the image, as in the DICOM SR and SEG",
    "former_date": "Study Date of the latest earlier study of the patient that has a label. This column and all that "
    "follow are empty for a lesion without a counterpart there, within 15 mm after rigid registration",
    "former_volume_mm3": "volume of the lesion in that study",
    "volume_change_percent": "of the volume in that study",
    "volume_change": "grown, shrunk or no change beyond measurement error, with 95 % confidence, by how much volumes "
    "of that size differ between readers and scans",
    "doubling_time_days": "volume doubling time; empty unless the volume is larger and the days differ",
    "doubling_time_shortest_days, doubling_time_longest_days": "95 % interval of the volume doubling time; without an "
    "upper end if no growth is possible",
}
_MIDLINE_MM = 10.0
_DIGITS = 6  # of mm: rounding errors must not decide which of two diameters is longer
_EQUAL_MM = 1e-6
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # prefixes that make spreadsheet programs evaluate a cell


@dataclass(frozen=True)
class MeasuredLesion:
    """A row of the table; see ``DEFINITIONS``."""

    label: str
    number: int
    voxels: int
    volume_mm3: float
    volume_ml: float
    longest_diameter_mm: float
    perpendicular_diameter_mm: float
    mean_hu: float
    x_mm: float
    y_mm: float
    z_mm: float
    side: str
    slice: int | None = None
    confidence: float | None = None
    state: str = ""
    texture: str = ""
    note: str = ""
    ruler_long_mm: float | None = None
    ruler_short_mm: float | None = None
    tracking_uid: str = ""
    former_date: str = ""
    former_volume_mm3: float | None = None
    volume_change_percent: float | None = None
    volume_change: str = ""
    doubling_time_days: float | None = None
    doubling_time_shortest_days: float | None = None
    doubling_time_longest_days: float | None = None


@dataclass(frozen=True)
class OtherRow:
    """A row without voxels: a rejected finding of the model, or a measurement beside all lesions."""

    state: str
    x_mm: float
    y_mm: float
    z_mm: float
    slice: int
    number: int = 0
    confidence: float | None = None
    texture: str = ""
    note: str = ""
    ruler_long_mm: float | None = None
    ruler_short_mm: float | None = None


Row = MeasuredLesion | OtherRow


@dataclass(frozen=True)
class _Axes:
    """Positions and widths of the voxels of a grid along each axis of an array: slice, row, column.

    Attributes:
        centres: For each axis, positions of the voxels along it, mm.
        widths: For each axis, sizes of the voxels along it, mm.
        axial: The axis along which the axial sections follow each other: that closest to the patient's long axis.
    """

    centres: tuple[np.ndarray, np.ndarray, np.ndarray]
    widths: tuple[np.ndarray, np.ndarray, np.ndarray]
    axial: int

    @classmethod
    def of(cls, grid: VoxelGrid) -> _Axes:
        _, rows, columns = grid.shape
        distances = (grid.slice_positions - grid.slice_positions[0]) @ grid.normal
        return cls(
            centres=(distances, np.arange(rows) * grid.spacing[1], np.arange(columns) * grid.spacing[0]),
            widths=(np.gradient(distances), np.full(rows, grid.spacing[1]), np.full(columns, grid.spacing[0])),
            axial=int(np.abs([grid.normal[2], grid.column[2], grid.row[2]]).argmax()),
        )


def lesion_table(
    mask: np.ndarray, volume: sitk.Image, labels: Mapping[str, int], findings: Sequence[Finding] = ()
) -> list[MeasuredLesion]:
    """Measure every lesion of a mask.

    Args:
        mask: (slice, row, column), voxel for voxel that of ``volume``.
        volume: HU, with its geometry in patient coordinates.
        labels: Label values by name.
        findings: Of the model, for the confidence of the lesions that contain one.
    """
    return measured_lesions(mask, volume, labels, findings)[0]


def measured_lesions(
    mask: np.ndarray,
    volume: sitk.Image,
    labels: Mapping[str, int],
    findings: Sequence[Finding] = (),
    numbered: Sequence[NumberedLesion] | None = None,
) -> tuple[list[MeasuredLesion], np.ndarray]:
    """Measure every lesion of a mask, and map the voxels to lesions.

    Args:
        mask: (slice, row, column), voxel for voxel that of ``volume``.
        volume: HU, with its geometry in patient coordinates.
        labels: Label values by name.
        findings: Of the model, for the confidence of the lesions that contain one.
        numbered: All lesions of the mask with their numbers; None to number them by size.

    Returns:
        The lesions, and uint32 voxels like ``mask``: 1 in the first of them, 2 in the second …, 0 elsewhere.
    """
    grid = VoxelGrid.from_image(volume)
    axes = _Axes.of(grid)
    hu = sitk.GetArrayViewFromImage(volume)
    midline = find_midline(volume) if mask.any() else None
    components, _ = lesion_components(mask, labels)
    boxes = ndimage.find_objects(components)
    names = {value: name for name, value in labels.items()}
    lesions: list[MeasuredLesion] = []
    places = np.zeros(mask.shape, np.uint32)
    for one in numbered if numbered is not None else number_lesions(mask, labels):
        component = int(components[one.voxel[::-1]])
        box = boxes[component - 1]
        inside = components[box] == component
        row = _measure(inside, box, hu, grid, axes, midline, names[int(mask[one.voxel[::-1]])])
        lesions.append(MeasuredLesion(number=one.number, tracking_uid=one.uid if numbered is not None else "", **row))
        places[box][inside] = len(lesions)
    for place, finding in finding_at_each_component(places.transpose(), findings).items():
        if finding.confidence is not None:
            lesions[place - 1] = replace(lesions[place - 1], confidence=round(finding.confidence, 4))
    return lesions, places


def as_csv(tables: Sequence[tuple[Mapping[str, object], Sequence[Row]]]) -> str:
    """Return the lesions of several masks as CSV.

    Args:
        tables: For each mask the columns common to all its rows (image, patient …), and its rows.
    """
    return "".join(csv_of_lesions(tables[0][0], tables))


def csv_of_lesions(about: Iterable[str], tables: Iterable[tuple[Mapping[str, object], Sequence[Row]]]) -> Iterator[str]:
    """Yield the parts of what `as_csv` returns.

    Args:
        about: Names of the columns common to all rows of a mask.
        tables: As for `as_csv`.
    """
    rows = ({**common, **asdict(row)} for common, of_mask in tables for row in of_mask)
    return csv_parts([*about, *(field.name for field in fields(MeasuredLesion))], rows)


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Return rows as CSV with a header; what is missing is empty, and no cell is evaluated as a formula."""
    return "".join(csv_parts(columns, rows))


def csv_parts(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """Yield the parts of what `csv_text` returns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    for row in rows:
        yield text.getvalue()
        text.seek(0)
        text.truncate()
        writer.writerow({name: escape_formula(value) for name, value in row.items()})
    yield text.getvalue()


def escape_formula(value: object) -> object:
    """Prefix text that a spreadsheet program would evaluate as a formula with an apostrophe; numbers are unchanged."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def as_json(tables: Sequence[tuple[Mapping[str, object], Sequence[Row]]]) -> str:
    """Return the lesions of several masks as JSON, with definitions of the columns, including masks without lesions."""
    return "".join(json_of_lesions(tables))


def json_of_lesions(tables: Iterable[tuple[Mapping[str, object], Sequence[Row]]]) -> Iterator[str]:
    """Yield the parts of what `as_json` returns."""
    masks = (
        {**about, "lesions": _of_kind(rows, MeasuredLesion), "others": _of_kind(rows, OtherRow)}
        for about, rows in tables
    )
    return json_parts({"definitions": DEFINITIONS}, "masks", masks)


def json_parts(head: Mapping[str, object], name: str, items: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """Yield the parts of a JSON object whose last entry is a list, without holding that.

    Args:
        head: The entries before the list.
        name: Name of the list.
        items: The list.
    """
    nothing = "[]\n}"
    yield json.dumps({**head, name: []}, indent=2).removesuffix(nothing)
    before = "[\n"
    for item in items:
        yield before + textwrap.indent(json.dumps(item, indent=2), "    ")
        before = ",\n"
    yield f"{nothing}\n" if before == "[\n" else "\n  ]\n}\n"


def _of_kind(rows: Sequence[Row], kind: type) -> list[dict[str, Any]]:
    return [asdict(row) for row in rows if isinstance(row, kind)]


def _measure(
    inside: np.ndarray,
    box: tuple[slice, ...],
    hu: np.ndarray,
    grid: VoxelGrid,
    axes: _Axes,
    midline: float | None,
    label: str,
) -> dict[str, Any]:
    index = np.argwhere(inside) + [part.start for part in box]
    weights = np.prod([widths[places] for widths, places in zip(axes.widths, index.T, strict=True)], axis=0)
    centre = np.average(grid.to_mm(index[:, ::-1]), axis=0, weights=weights)
    longest, perpendicular = max(
        _diameters(index[index[:, axes.axial] == section], axes) for section in np.unique(index[:, axes.axial])
    )
    volume = float(weights.sum())
    return {
        "label": label,
        "voxels": len(index),
        "volume_mm3": round(volume, 2) or float(f"{volume:.2g}"),  # no lesion has a volume of 0
        "volume_ml": round(volume / 1000, 4),
        "longest_diameter_mm": round(longest, 2),
        "perpendicular_diameter_mm": round(perpendicular, 2),
        "mean_hu": round(float(hu[tuple(index.T)].mean()), 1),
        **{name: round(float(value), 2) for name, value in zip(("x_mm", "y_mm", "z_mm"), centre, strict=True)},
        "side": _side(float(centre[0]), midline),
        "slice": slice_number(centre, grid),
    }


def slice_number(point: np.ndarray, grid: VoxelGrid) -> int:
    """Return the number, from 1, of the slice nearest to a point, LPS mm."""
    return int(np.clip(np.rint(grid.to_index(point)[2]), 0, grid.size[2] - 1)) + 1


def _diameters(index: np.ndarray, axes: _Axes) -> tuple[float, float]:
    """Return the longest diameter of the pixels of a section and the extent perpendicular to it, mm.

    Of several that are equally long, that with the longest perpendicular counts. As in
    ``lib/viewer/panel/diameters.js``; both are tested against ``tests/fixtures/diameters.json``.
    """
    one, other = (axis for axis in range(3) if axis != axes.axial)
    centres = np.column_stack([axes.centres[axis][index[:, axis]] for axis in (one, other)])
    half = np.column_stack([axes.widths[axis][index[:, axis]] for axis in (one, other)]) / 2
    edges = np.concatenate([centres + half * step for step in ((1, 0), (-1, 0), (0, 1), (0, -1))])
    hull = edges[ConvexHull(edges).vertices]
    apart = distance.cdist(hull, hull)
    longest = round(float(apart.max()), _DIGITS)
    ends = np.argwhere(apart >= longest - _EQUAL_MM)
    along = (hull[ends[:, 1]] - hull[ends[:, 0]]) / longest
    across = np.ptp(hull @ np.stack([-along[:, 1], along[:, 0]]), axis=0)
    return longest, round(float(across.max()), _DIGITS)


def find_midline(volume: sitk.Image) -> float | None:
    """Return the left-right position of the middle of the body around the lungs, LPS mm; None without lungs."""
    lungs = find_volume_lungs(volume)
    return lungs.midline if lungs else None


def _side(x: float, midline: float | None) -> str:
    if midline is None:
        return ""
    if abs(x - midline) <= _MIDLINE_MM:
        return "midline"
    return "left" if x > midline else "right"
