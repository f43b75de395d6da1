"""Reader of submitted label files, which places them on the voxel grid of their image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from lib.datastore.label_names import merge_segments, values_by_label_info
from lib.dicomweb.dicom_file import NotUsableError
from lib.dicomweb.image_header import SUFFIXES, check_before_reading, read_image_header
from lib.errors import UserError
from lib.geometry.voxel_grid import SLICE_POSITIONS, VoxelGrid

_VOXEL_TOLERANCE = 0.05
_INTEGER_TOLERANCE = 1e-3
_DIRECTION_TOLERANCE = 1e-3  # of the components of unit vectors, which NIfTI stores in 32 bits


def read_label(path: Path, image_path: Path, labels: Mapping[str, int], label_info: Any = None) -> sitk.Image:
    """Read a label as uint8 on the grid of its image.

    Labels are identified by name if there are names: those in the header of the file, else those of ``label_info``.
    Otherwise the values must be those of ``labels``.

    A label with flipped or permuted axes, or cropped to its segment (``.seg.nrrd``), is placed on the grid; a label on
    a different grid is refused, never resampled.

    Args:
        path: ``.nii.gz``, ``.nii``, ``.nrrd``, ``.seg.nrrd``, or ``.bin`` (raw uint8 in the image's voxel
            order, as OHIF sends it).
        image_path: Volume of the image.
        labels: Label values by name.
        label_info: Sent by the client: ``[{"name": "lung_tumor", "idx": 1}]``, see
            :func:`~lib.datastore.label_names.values_by_label_info`.

    Raises:
        UserError: The file is not a label of this image.
    """
    grid = VoxelGrid.from_file(image_path)
    if path.suffix == ".bin":
        array = _read_raw(path, grid.size)
    elif path.name.lower().endswith(SUFFIXES):
        image = _read_image(path, grid.size)
        named = merge_segments(image, labels)
        if named is not None:
            return grid.image(_place(named, grid))
        array = _place(_one_component(image), grid)
    else:
        raise UserError(f"A label must be .nii.gz, .nii, .nrrd or .seg.nrrd, or .bin from OHIF, not {path.suffix!r}.")
    return grid.image(_as_labels(array, labels, label_info))


def read_values(path: Path, grid: VoxelGrid) -> np.ndarray:
    """Return the values of a label file on the grid of its image (slice, row, column), whole where they nearly are.

    Raises:
        UserError: The file is not one volume with one value for each voxel, or not on this grid.
    """
    return _nearly_whole(_place(_one_component(_read_image(path, grid.size)), grid))


def _read_raw(path: Path, size: tuple[int, ...]) -> np.ndarray:
    sent, wanted = path.stat().st_size, math.prod(size)
    if sent != wanted:  # checked before reading, because the file may have gigabytes
        raise UserError(
            f"The label has {sent} voxels; the image has {_by(size)} = {wanted}. "
            "Send the whole image, one byte per voxel."
        )
    return np.fromfile(path, dtype=np.uint8).reshape(size[::-1])


def _read_image(path: Path, size: tuple[int, ...]) -> sitk.Image:
    try:
        check_before_reading(path, alone=True)
        claimed = read_image_header(path).GetSize()
        if math.prod(claimed) > math.prod(size):  # before reading voxels: a kilobyte may claim gigabytes
            raise UserError(f"The label claims {_by(claimed)} voxels, more than its image of {_by(size)} has.")
        image = sitk.ReadImage(str(path))
    except NotUsableError as error:
        raise UserError(f"The label file cannot be read as an image: {error}.") from error
    except RuntimeError as error:
        raise UserError("The label file cannot be read as an image; it is damaged or of another kind.") from error
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[..., 0]
    if image.GetDimension() != 3:
        raise UserError(f"The label must be one three-dimensional volume, not {image.GetDimension()}-dimensional.")
    image.EraseMetaData(SLICE_POSITIONS)  # a viewer may copy it from the volume even if it crops the label
    return image


def _one_component(image: sitk.Image) -> sitk.Image:
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise UserError(
            f"The label must be one three-dimensional volume with one value for each voxel, not "
            f"{image.GetNumberOfComponentsPerPixel()}. A .seg.nrrd with several layers must name its segments."
        )
    return image


def _place(image: sitk.Image, grid: VoxelGrid) -> np.ndarray:
    """Return the voxels of a label on the grid of its image (slice, row, column).

    Raises:
        UserError: The voxels do not coincide with those of the grid, or extend beyond it.
    """
    label = VoxelGrid.from_image(image)
    if grid.is_sheared and _is_box_of(label, grid):
        return sitk.GetArrayFromImage(image)
    to_grid = grid.inverse @ label.affine
    axes, first = np.rint(to_grid[:3, :3]), to_grid[:3, 3]
    size, label_size = np.array(grid.size), np.array(label.size)
    permuted = np.array_equal(np.abs(axes).sum(0), [1, 1, 1]) and np.array_equal(np.abs(axes).sum(1), [1, 1, 1])
    drift = np.abs(to_grid[:3, :3] - axes) @ label_size
    shift = np.abs(first - np.rint(first))
    if not permuted or max(drift.max(), shift.max()) > _VOXEL_TOLERANCE:
        raise UserError(
            f"The label is not on the voxel grid of the image: label {_describe(label)}; "
            f"image {_describe(grid)}. Save it on the grid of the image."
        )
    first = np.rint(first).astype(int)
    last = first + axes.astype(int) @ (label_size - 1)
    low, high = np.minimum(first, last), np.maximum(first, last)
    if (low < 0).any() or (high >= size).any():
        raise UserError(f"The label extends beyond the image: label {_describe(label)}; image {_describe(grid)}.")
    voxels = sitk.GetArrayFromImage(image).transpose()  # index order: column, row, slice
    source_axis = np.abs(axes).argmax(1)
    voxels = voxels.transpose(source_axis)
    for axis in range(3):
        if axes[axis, source_axis[axis]] < 0:
            voxels = np.flip(voxels, axis)
    placed = np.zeros(size, dtype=voxels.dtype)
    placed[low[0] : high[0] + 1, low[1] : high[1] + 1, low[2] : high[2] + 1] = voxels
    return placed.transpose()


def _as_labels(array: np.ndarray, labels: Mapping[str, int], label_info: Any) -> np.ndarray:
    array = _nearly_whole(array)
    found = [value for value in np.unique(array).tolist() if value != 0]
    if label_info and found:
        named = np.zeros(array.shape, np.uint8)
        for value, label in values_by_label_info(label_info, found, labels).items():
            named[array == value] = label
        return named
    strange = [value for value in found if value not in labels.values()][:5]
    if strange:
        raise UserError(f"The label has the values {strange}; known are {sorted({0, *labels.values()})}.")
    return array.astype(np.uint8)


def _nearly_whole(array: np.ndarray) -> np.ndarray:
    """Round values that are nearly whole: slope and intercept may give 0.99999994 instead of 1."""
    if not np.issubdtype(array.dtype, np.floating):
        return array
    whole = np.rint(array)
    with np.errstate(invalid="ignore"):  # of infinities
        return np.where(np.abs(array - whole) < _INTEGER_TOLERANCE, whole, array)


def _is_box_of(label: VoxelGrid, grid: VoxelGrid) -> bool:
    """Return whether a label has a rectangular grid that programs write in place of a sheared one.

    ITK and NiBabel write the nearest one to NIfTI; others keep the slices and stack them along their normal. A label
    whose axes are in another order or direction may have the same size, spacing and first voxel.
    """
    left, _, right = np.linalg.svd(grid.direction)
    boxes = (left @ right, np.column_stack([grid.row, grid.column, grid.normal]))
    return (
        label.size == grid.size
        and np.allclose(label.affine[:3, 3], grid.affine[:3, 3], atol=_VOXEL_TOLERANCE)
        and np.allclose(label.spacing, grid.spacing, atol=_VOXEL_TOLERANCE)
        and any(np.allclose(label.direction, box, atol=_DIRECTION_TOLERANCE) for box in boxes)
    )


def _describe(grid: VoxelGrid) -> str:
    spacing = " × ".join(f"{value:.4g}" for value in grid.spacing)
    origin = ", ".join(f"{value:.4g}" for value in grid.affine[:3, 3])
    return f"{_by(grid.size)} voxels of {spacing} mm from ({origin})"


def _by(size: tuple[int, ...]) -> str:
    return "×".join(str(value) for value in size)
