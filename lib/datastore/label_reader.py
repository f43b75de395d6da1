"""Reader of the label files that viewers submit, onto the voxel grid of their image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from lib.datastore.label_names import merge_segments, values_by_label_info
from lib.datastore.volume import affine_of, is_sheared, read_grid
from lib.dicomweb.dicom_file import NotUsableError
from lib.dicomweb.image_header import SUFFIXES, check_image_header
from lib.errors import UserError

_VOXEL_TOLERANCE = 0.05
_WHOLE = 1e-3  # largest distance of a value from an integer


def read_label(path: Path, image_path: Path, labels: Mapping[str, int], label_info: Any = None) -> sitk.Image:
    """Read a label as uint8 on the grid of its image.

    Labels are identified by name if there are names: those in the header of the file, else those of ``label_info``.
    Otherwise the values must be those of ``labels``.

    A label on the same voxels whose axes are flipped or permuted, or that is cropped to its segment (``.seg.nrrd``),
    is moved to its place; a label on other voxels is refused, never resampled.

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
    reference = read_grid(image_path)
    if path.suffix == ".bin":
        array = _read_raw(path, reference.GetSize())
    elif path.name.lower().endswith(SUFFIXES):
        image = _read_image(path, reference.GetSize())
        named = merge_segments(image, labels)
        if named is not None:
            return on_grid(_place(named, reference), reference)
        array = _place(_one_component(image), reference)
    else:
        raise UserError(f"A label must be .nii.gz, .nii, .nrrd or .seg.nrrd, or .bin from OHIF, not {path.suffix!r}.")
    return on_grid(_as_labels(array, labels, label_info), reference)


def on_grid(array: np.ndarray, reference: sitk.ImageFileReader | sitk.Image) -> sitk.Image:
    """Make an image of ``array`` (slice, row, column) with the geometry of ``reference``."""
    image = sitk.GetImageFromArray(array)
    image.SetOrigin(reference.GetOrigin())
    image.SetSpacing(reference.GetSpacing())
    image.SetDirection(reference.GetDirection())
    return image


def _read_raw(path: Path, size: tuple[int, ...]) -> np.ndarray:
    sent, wanted = path.stat().st_size, math.prod(size)
    if sent != wanted:  # checked before reading: the file may have gigabytes
        raise UserError(
            f"The label has {sent} voxels; the image has {_by(size)} = {wanted}. "
            "Send the whole image, one byte per voxel."
        )
    return np.fromfile(path, dtype=np.uint8).reshape(size[::-1])


def _read_image(path: Path, size: tuple[int, ...]) -> sitk.Image:
    try:
        check_image_header(path, alone=True)
        claimed = read_grid(path).GetSize()
        if math.prod(claimed) > math.prod(size):  # before its voxels are read: a kilobyte may claim gigabytes
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
    return image


def _one_component(image: sitk.Image) -> sitk.Image:
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise UserError(
            f"The label must be one three-dimensional volume with one value for each voxel, not "
            f"{image.GetNumberOfComponentsPerPixel()}. A .seg.nrrd with several layers must name its segments."
        )
    return image


def _place(label: sitk.Image, reference: sitk.ImageFileReader) -> np.ndarray:
    """Put the label's voxels where they belong in the image's array (slice, row, column)."""
    if is_sheared(reference) and _is_box_of(label, reference):
        return sitk.GetArrayFromImage(label)
    to_image = np.linalg.inv(affine_of(reference)) @ affine_of(label)
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


def _as_labels(array: np.ndarray, labels: Mapping[str, int], label_info: Any) -> np.ndarray:
    if np.issubdtype(array.dtype, np.floating):  # slope and intercept may yield 0.99999994 instead of 1
        whole = np.rint(array)
        with np.errstate(invalid="ignore"):  # infinities, which are refused below
            array = np.where(np.abs(array - whole) < _WHOLE, whole, array)
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


def _is_box_of(label: sitk.Image, reference: sitk.ImageFileReader) -> bool:
    """Tell a label that NIfTI could not give the sheared grid of a tilted series: ITK reads it as the nearest box."""
    return label.GetSize() == reference.GetSize() and all(
        np.allclose(getattr(label, what)(), getattr(reference, what)(), atol=_VOXEL_TOLERANCE)
        for what in ("GetOrigin", "GetSpacing")
    )


def _describe(image: sitk.Image | sitk.ImageFileReader) -> str:
    spacing = " × ".join(f"{value:.4g}" for value in image.GetSpacing())
    origin = ", ".join(f"{value:.4g}" for value in image.GetOrigin())
    return f"{_by(image.GetSize())} voxels of {spacing} mm from ({origin})"


def _by(size: tuple[int, ...]) -> str:
    return "×".join(str(value) for value in size)
