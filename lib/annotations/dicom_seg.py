"""Segments of DICOM Segmentation objects (PS3.3 A.51, A.90), whoever made them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import SegmentationStorage

from lib.annotations.regions import Region, code_of
from lib.annotations.seg_frames import SegFrames
from lib.dicomweb.dicom_file import read_dicom
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid

_STORAGE = (SegmentationStorage, "1.2.840.10008.5.1.4.1.1.66.7")  # the second: Label Map Segmentation Storage
_OFF_PIXEL = 0.05  # so far a frame's pixels may lie beside the image's, in pixels


def read_regions(path: Path, grid: VoxelGrid) -> list[Region]:
    """Read the segments of a Segmentation; segments without a frame only where there are no others.

    Frames are put where their Image Position (Patient) and orientation say, whatever their order is, and pixel on
    pixel. Of a fractional segment the voxels from half of the maximum on are taken, with a warning that says so.

    Args:
        path: The DICOM file.
        grid: Where the voxels of the image lie.

    Raises:
        UserError: It is none, damaged, or of a kind that cannot be read. That a segment lies on another grid
            is said when its mask is asked for.
    """
    try:
        dataset = read_dicom(path)
        if dataset.SOPClassUID not in _STORAGE:
            raise UserError(f"It is {dataset.SOPClassUID.name or dataset.SOPClassUID}, not a Segmentation.")
        frames = SegFrames(dataset, path)
        warnings = _warnings(frames, dataset)
        described = {int(one.SegmentNumber): one for one in dataset.get("SegmentSequence") or []}
        regions = [
            Region(
                _name(number, described.get(number, Dataset())),
                _codes(described.get(number, Dataset())),
                partial(_mask, frames, number, grid),
                warnings,
                drawn=number in frames.of_segment,
            )
            for number in sorted(described.keys() | frames.of_segment.keys())
        ]
    except UserError:
        raise
    except Exception as error:  # pydicom raises many kinds on objects that break the standard
        raise UserError(f"The Segmentation is damaged or breaks the standard ({error}).") from error
    return [region for region in regions if region.drawn] or regions


def _name(number: int, segment: Dataset) -> str:
    return str(segment.get("SegmentLabel") or segment.get("SegmentDescription") or f"Segment {number}")


def _codes(segment: Dataset) -> tuple[str, ...]:
    """Codes of what a segment is, as far as they are there."""
    names = ("SegmentedPropertyTypeCodeSequence", "SegmentedPropertyCategoryCodeSequence")
    items = [item for name in names for item in segment.get(name) or []]
    values = [
        (item.get("CodeValue") or item.get("LongCodeValue"), item.get("CodingSchemeDesignator")) for item in items
    ]
    return tuple(code_of(Code(value, scheme, "")) for value, scheme in values if value and scheme)


def _warnings(frames: SegFrames, dataset: Dataset) -> tuple[str, ...]:
    if frames.kind != "FRACTIONAL":
        return ()
    meaning = str(dataset.get("SegmentationFractionalType") or "of unknown meaning").lower()
    return (
        f"its values are fractions ({meaning}): voxels from {frames.maximum / 2:g} of {frames.maximum} on, one half, "
        "are taken",
    )


def _mask(frames: SegFrames, number: int, grid: VoxelGrid) -> sitk.Image:
    whole = np.zeros(grid.shape, np.uint8)
    try:
        for place, pixels in frames.marked(number):
            if pixels.any():
                _put(whole, frames, place, pixels, grid)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"The frames of the Segmentation cannot be read ({error}).") from error
    return grid.mask(whole)


def _put(whole: np.ndarray, frames: SegFrames, place: int, pixels: np.ndarray, grid: VoxelGrid) -> None:
    """Add a frame (row, column) where it lies."""
    orientation = frames.value(place, "PlaneOrientationSequence", "ImageOrientationPatient")
    position = frames.value(place, "PlanePositionSequence", "ImagePositionPatient")
    between_rows, between_columns = map(float, frames.value(place, "PixelMeasuresSequence", "PixelSpacing"))
    along_row, along_column = np.array(orientation, float).reshape(2, 3) * [[between_columns], [between_rows]]
    first = np.array(position, float)
    rows, columns = pixels.shape
    across, down = max(columns - 1, 1), max(rows - 1, 1)  # a frame of one column has a direction, too
    corners = first + np.array([np.zeros(3), across * along_row, down * along_column])
    slice_index = grid.slice_at(corners)
    if slice_index is None:
        raise UserError(
            f"It lies on another grid: its frame at ({_mm(first)}) mm lies on no slice of the series; "
            "resample it onto the series in the program that made it."
        )
    ends = grid.to_pixels(corners, slice_index)
    origin = np.rint(ends[0])
    axes = np.rint([(ends[1] - ends[0]) / across, (ends[2] - ends[0]) / down])
    placed = origin + np.stack([np.zeros(2), across * axes[0], down * axes[1]])
    if np.abs(ends - placed).max() > _OFF_PIXEL or not np.array_equal(np.abs(axes).sum(0), [1, 1]):
        raise UserError(
            f"It lies on another grid: pixels of {between_columns:.4g} × {between_rows:.4g} mm from "
            f"({_mm(first)}) mm on, which are not those of the series; resample it onto the series in the program "
            "that made it."
        )
    marked_rows, marked_columns = np.nonzero(pixels)
    column, row = (origin[:, None] + axes.T @ [marked_columns, marked_rows]).astype(int)
    if min(column.min(), row.min()) < 0 or column.max() >= whole.shape[2] or row.max() >= whole.shape[1]:
        raise UserError(f"It reaches beyond the series, on the slice at ({_mm(first)}) mm.")
    whole[slice_index, row, column] = 1


def _mm(point: np.ndarray) -> str:
    return ", ".join(f"{value:.5g}" for value in point)
