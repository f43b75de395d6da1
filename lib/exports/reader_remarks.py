"""What the reader said about the lesions of a label and measured with a ruler, joined to the measured lesions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lib.datastore.label_lesions import REJECTED, Remark
from lib.datastore.label_measurements import Measurement
from lib.exports.lesion_table import MeasuredLesion, OtherRow, slice_number
from lib.geometry.voxel_grid import VoxelGrid

_MEASURED = "measured"


@dataclass(frozen=True)
class PlacedMeasurement:
    """A measurement of a reader and where it is.

    Attributes:
        measurement: As drawn.
        place: Position from 1 of the lesion that it is in; 0 beside all.
        index: Column, row and slice of the ends of its lines, fractional, shape (lines, 2, 3).
    """

    measurement: Measurement
    place: int
    index: np.ndarray

    @property
    def slice_index(self) -> int | None:
        """The slice that all of it is on; None if it extends over several."""
        nearest = round(float(self.index[..., 2].mean()))
        return nearest if np.abs(self.index[..., 2] - nearest).max() <= 0.5 + 1e-3 else None


def placed_measurements(
    measurements: Sequence[Measurement], places: np.ndarray, grid: VoxelGrid
) -> list[PlacedMeasurement]:
    """Return each measurement with the lesion that most of its longest line is in.

    Args:
        measurements: As drawn.
        places: (slice, row, column): position of the lesion, counted from 1; 0 is background.
        grid: Of ``places``.
    """
    return [PlacedMeasurement(one, _place(one, places, grid), grid.to_index(one.lines)) for one in measurements]


def with_remarks(
    lesions: Sequence[MeasuredLesion],
    places: np.ndarray,
    remarks: Sequence[Remark],
    measurements: Sequence[PlacedMeasurement],
) -> list[MeasuredLesion]:
    """Return the lesions with what the reader said about them, and the largest measurement in each.

    Args:
        lesions: All lesions of a label.
        places: (slice, row, column): position of the lesion in ``lesions``, counted from 1; 0 is background.
        remarks: Of the reader; those on what is not in the label any more are ignored.
        measurements: Of the reader.
    """
    said: dict[int, Remark] = {}
    for remark in remarks:
        if remark.state != REJECTED and (place := _place_of_voxel(remark.voxel, places)):
            said.setdefault(place, remark)
    return [
        replace(lesion, **_said(said.get(place)), **_ruled([one for one in measurements if one.place == place]))
        for place, lesion in enumerate(lesions, 1)
    ]


def other_rows(remarks: Sequence[Remark], measurements: Sequence[PlacedMeasurement], grid: VoxelGrid) -> list[OtherRow]:
    """Return the rows of the rejected findings, and of the measurements beside all lesions."""
    size = np.array(grid.size)
    rejected = [one for one in remarks if one.state == REJECTED and (np.array(one.voxel) < size).all()]
    beside = [one for one in measurements if not one.place]
    return [
        *(
            OtherRow(
                REJECTED,
                *_place_columns(grid.to_mm(np.array(one.voxel)), grid),
                confidence=one.confidence,
                texture=one.texture,
                note=one.note,
            )
            for one in rejected
        ),
        *(
            OtherRow(_MEASURED, *_place_columns(one.measurement.lines[0].mean(0), grid), **_ruled([one]))
            for one in beside
        ),
    ]


def _place(measurement: Measurement, places: np.ndarray, grid: VoxelGrid) -> int:
    index = np.rint(grid.to_index(measurement.samples())).astype(int)
    index = np.clip(index, 0, np.array(grid.size) - 1)
    found = places[tuple(index[:, ::-1].T)]
    counts = np.bincount(found[found > 0])
    return int(counts.argmax()) if counts.size else 0


def _place_of_voxel(voxel: tuple[int, int, int], places: np.ndarray) -> int:
    inside = all(index < length for index, length in zip(voxel[::-1], places.shape, strict=True))
    return int(places[voxel[::-1]]) if inside else 0


def _said(remark: Remark | None) -> dict[str, Any]:
    return {"state": remark.state, "texture": remark.texture, "note": remark.note} if remark else {}


def _ruled(measurements: Sequence[PlacedMeasurement]) -> dict[str, Any]:
    """Return the lengths of the longest bidirectional measurement, or of the longest length if there is none."""
    lengths = [one.measurement.lengths for one in measurements]
    if not lengths:
        return {}
    longest = max(lengths, key=lambda of_one: (len(of_one), of_one))
    return dict(zip(("ruler_long_mm", "ruler_short_mm"), (round(mm, 2) for mm in longest), strict=False))


def _place_columns(point: np.ndarray, grid: VoxelGrid) -> tuple[float, float, float, int]:
    """Return the position of a point, LPS mm, rounded, and the number of the slice nearest to it."""
    x, y, z = (round(float(mm), 2) for mm in point)
    return x, y, z, slice_number(point, grid)
