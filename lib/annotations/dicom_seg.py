"""Reader of DICOM Segmentation objects (PS3.3 A.51, A.90) from any vendor."""

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

_LABEL_MAP_SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
_SOP_CLASSES = (SegmentationStorage, _LABEL_MAP_SEGMENTATION_STORAGE)
_PIXEL_TOLERANCE = 0.05  # largest offset between the pixels of a frame and those of the image, in pixels


def read_regions(path: Path, grid: VoxelGrid) -> list[Region]:
    """Read the segments of a Segmentation; return segments without a frame only if there are no others.

    Frames are placed by their Image Position (Patient) and Image Orientation (Patient), in any order, and must match
    the pixel grid of the image. A fractional segment is thresholded at half of its maximum, with a warning.

    Args:
        path: The DICOM file.
        grid: Voxel grid of the image.

    Raises:
        UserError: The file is not a Segmentation, is damaged, or has an unsupported segmentation type. A segment on a
            different grid raises only when its mask is computed.
    """
    try:
        dataset = read_dicom(path)
        if dataset.SOPClassUID not in _SOP_CLASSES:
            raise UserError(f"The file is {dataset.SOPClassUID.name or dataset.SOPClassUID}, not a Segmentation.")
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
    """Return the property type and category codes of a segment, as far as present."""
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
        f"its values are fractions ({meaning}): voxels of at least half of the maximum ({frames.maximum / 2:g} of "
        f"{frames.maximum}) are included",
    )


def _mask(frames: SegFrames, number: int, grid: VoxelGrid) -> sitk.Image:
    voxels = np.zeros(grid.shape, np.uint8)
    try:
        for frame, pixels in frames.masks_of(number):
            if pixels.any():
                _add_frame(voxels, frames, frame, pixels, grid)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"The frames of the Segmentation cannot be read ({error}).") from error
    return grid.mask(voxels)


def _add_frame(voxels: np.ndarray, frames: SegFrames, frame: int, pixels: np.ndarray, grid: VoxelGrid) -> None:
    """Set the voxels (slice, row, column) of one frame (row, column), at its position in the patient."""
    orientation = frames.value(frame, "PlaneOrientationSequence", "ImageOrientationPatient")
    position = frames.value(frame, "PlanePositionSequence", "ImagePositionPatient")
    between_rows, between_columns = map(float, frames.value(frame, "PixelMeasuresSequence", "PixelSpacing"))
    along_row, along_column = np.array(orientation, float).reshape(2, 3) * [[between_columns], [between_rows]]
    first = np.array(position, float)
    rows, columns = pixels.shape
    across, down = max(columns - 1, 1), max(rows - 1, 1)  # a frame of a single column has a direction, too
    corners = first + np.array([np.zeros(3), across * along_row, down * along_column])
    slice_index = grid.slice_at(corners)
    if slice_index is None:
        raise UserError(
            f"The segment is on a different grid: its frame at ({_mm(first)}) mm matches no slice of the series; "
            "resample it to the series in the program that created it."
        )
    ends = grid.to_pixels(corners, slice_index)
    origin = np.rint(ends[0])
    axes = np.rint([(ends[1] - ends[0]) / across, (ends[2] - ends[0]) / down])
    placed = origin + np.stack([np.zeros(2), across * axes[0], down * axes[1]])
    if np.abs(ends - placed).max() > _PIXEL_TOLERANCE or not np.array_equal(np.abs(axes).sum(0), [1, 1]):
        raise UserError(
            f"The segment is on a different grid: its pixels of {between_columns:.4g} × {between_rows:.4g} mm from "
            f"({_mm(first)}) mm on are not those of the series; resample it to the series in the program that "
            "created it."
        )
    marked_rows, marked_columns = np.nonzero(pixels)
    column, row = (origin[:, None] + axes.T @ [marked_columns, marked_rows]).astype(int)
    if min(column.min(), row.min()) < 0 or column.max() >= voxels.shape[2] or row.max() >= voxels.shape[1]:
        raise UserError(f"The segment extends beyond the images of the series, on the slice at ({_mm(first)}) mm.")
    voxels[slice_index, row, column] = 1


def _mm(point: np.ndarray) -> str:
    return ", ".join(f"{value:.5g}" for value in point)
