"""Label files as viewers send them, brought onto the voxels of their image."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lib.datastore.volume import read_grid
from lib.errors import UserError

_IMAGE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
_VOXEL_TOLERANCE = 0.05


def read_label(path: Path, image_path: Path, values: Collection[int]) -> sitk.Image:
    """Read a label as uint8 on the grid of its image.

    A label that lies on the same voxels in another order of axes (flipped, permuted, or cropped to its
    segment as in ``.seg.nrrd``) is put in its place; a label on other voxels is refused, never resampled.

    Args:
        path: ``.nii.gz``, ``.nii``, ``.nrrd``, ``.seg.nrrd``, or ``.bin`` (raw uint8 in the image's voxel
            order, what OHIF sends).
        image_path: Volume of the image.
        values: Label values that may occur besides 0.

    Raises:
        UserError: It is no label of this image.
    """
    reference = read_grid(image_path)
    if path.suffix == ".bin":
        array = _read_raw(path, reference.GetSize())
    elif path.name.lower().endswith(_IMAGE_SUFFIXES):
        array = _place(_read_image(path), reference)
    else:
        raise UserError(f"A label must be .nii.gz, .nii, .nrrd or .seg.nrrd, or .bin from OHIF, not {path.suffix!r}.")
    return on_grid(_as_uint8(array, values), reference)


def on_grid(array: np.ndarray, reference: sitk.ImageFileReader | sitk.Image) -> sitk.Image:
    """Make an image of ``array`` (slice, row, column) with the geometry of ``reference``."""
    image = sitk.GetImageFromArray(array)
    image.SetOrigin(reference.GetOrigin())
    image.SetSpacing(reference.GetSpacing())
    image.SetDirection(reference.GetDirection())
    return image


def _read_raw(path: Path, size: tuple[int, ...]) -> np.ndarray:
    voxels = np.fromfile(path, dtype=np.uint8)
    if voxels.size != int(np.prod(size)):
        raise UserError(
            f"The label has {voxels.size} voxels; the image has {_by(size)} = {int(np.prod(size))}. "
            "It must be of the whole image, one byte for each voxel."
        )
    return voxels.reshape(size[::-1])


def _read_image(path: Path) -> sitk.Image:
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise UserError("The label file cannot be read as an image; it is damaged or of another kind.") from error
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[..., 0]
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise UserError(
            f"The label must be one three-dimensional volume, not {image.GetDimension()}-dimensional with "
            f"{image.GetNumberOfComponentsPerPixel()} component(s)."
        )
    return image


def _place(label: sitk.Image, reference: sitk.ImageFileReader) -> np.ndarray:
    """Put the label's voxels where they belong in the image's array (slice, row, column)."""
    to_image = np.linalg.inv(_affine(reference)) @ _affine(label)
    axes, first = np.rint(to_image[:3, :3]), to_image[:3, 3]
    size = np.array(reference.GetSize())
    permuted = np.array_equal(np.abs(axes).sum(0), [1, 1, 1]) and np.array_equal(np.abs(axes).sum(1), [1, 1, 1])
    drift = np.abs(to_image[:3, :3] - axes) @ np.array(label.GetSize())
    shift = np.abs(first - np.rint(first))
    if not permuted or max(drift.max(), shift.max()) > _VOXEL_TOLERANCE:
        raise UserError(
            f"The label does not lie on the voxels of the image: label {_describe(label)}; "
            f"image {_describe(reference)}. Save it on the image's own grid."
        )
    first = np.rint(first).astype(int)
    last = first + axes.astype(int) @ (np.array(label.GetSize()) - 1)
    low, high = np.minimum(first, last), np.maximum(first, last)
    if (low < 0).any() or (high >= size).any():
        raise UserError(f"The label reaches beyond the image: label {_describe(label)}; image {_describe(reference)}.")
    voxels = sitk.GetArrayFromImage(label).transpose()  # index order: column, row, slice
    source_axis = np.abs(axes).argmax(1)
    voxels = voxels.transpose(source_axis)
    for axis in range(3):
        if axes[axis, source_axis[axis]] < 0:
            voxels = np.flip(voxels, axis)
    placed = np.zeros(size, dtype=voxels.dtype)
    placed[low[0] : high[0] + 1, low[1] : high[1] + 1, low[2] : high[2] + 1] = voxels
    return placed.transpose()


def _as_uint8(array: np.ndarray, values: Collection[int]) -> np.ndarray:
    found = np.unique(array)
    known = {0, *values}
    if not set(found.tolist()) <= known:
        strange = [value for value in found.tolist() if value not in known][:5]
        raise UserError(f"The label has the values {strange}; known are {sorted(known)}.")
    return array.astype(np.uint8)


def _affine(image: sitk.Image | sitk.ImageFileReader) -> np.ndarray:
    """4×4 from voxel index (column, row, slice) to patient coordinates (LPS, mm)."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return affine


def _describe(image: sitk.Image | sitk.ImageFileReader) -> str:
    spacing = " × ".join(f"{value:.4g}" for value in image.GetSpacing())
    origin = ", ".join(f"{value:.4g}" for value in image.GetOrigin())
    return f"{_by(image.GetSize())} voxels of {spacing} mm from ({origin})"


def _by(size: tuple[int, ...]) -> str:
    return "×".join(str(value) for value in size)
