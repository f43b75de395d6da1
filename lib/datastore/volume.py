"""From the DICOM files of a series, or another image file, to one volume file on its true grid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk

from lib.atomic import write_atomically
from lib.datastore.frames import is_multi_frame, slices_of
from lib.datastore.image_writing import write_image
from lib.datastore.slice_geometry import SLICE_POSITIONS, SliceStack, check_voxel_size, slice_stack
from lib.dicomweb.dicom_file import check_elements, read_index_header, read_metadata
from lib.dicomweb.matching import first_value

_NIFTI = (".nii", ".nii.gz")
_SHEAR = 1e-4
_FARTHEST_MM = 1e5  # from the origin of the patient's coordinates; farther off, 32 bits cannot tell voxels apart
_RESCALE = (("RescaleSlope", 1), ("RescaleIntercept", 0))
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # NIfTI's patient axes are RAS


def read_volume(paths: Sequence[Path]) -> sitk.Image:
    """Read the slices of a CT series, in any order and transfer syntax, as one image.

    Args:
        paths: One file for each slice, or files of enhanced multi-frame CT.

    Returns:
        HU (rescale slope and intercept applied) as int16 where they fit, else float32. Index order is column,
        row, slice; origin, spacing and direction are in patient coordinates (LPS, mm). The direction is sheared
        for a tilted gantry. Where the slices are not evenly spaced or tilted, the metadata ``slice_positions``
        has the true position of each; see :mod:`lib.datastore.slice_geometry`.

    Raises:
        ValueError: The slices cannot be stacked.
        NotUsableError: A file is damaged.
    """
    for path in paths:
        check_elements(path)
    headers = [read_index_header(path)[0].to_json_dict() for path in paths]
    multi_frame = is_multi_frame(headers)
    slices = slices_of([read_metadata(path) for path in paths]) if multi_frame else headers
    stack = slice_stack(slices)
    if multi_frame:
        voxels = _read_frames(paths, slices)[stack.order]
    else:
        # Slices may differ in slope and intercept; in the type of the first, the others would be cut off.
        reader = sitk.ImageSeriesReader()
        reader.SetOutputPixelType(sitk.sitkFloat32)
        reader.SetFileNames([str(paths[place]) for place in stack.order])
        voxels = sitk.GetArrayFromImage(reader.Execute())
    return _placed(sitk.GetImageFromArray(as_hu(voxels)), stack)


def on_stack(shape: tuple[int, int, int], stack: SliceStack) -> sitk.Image:
    """An empty image (uint8; slices, rows, columns) on the grid that :func:`read_volume` gives a series."""
    return _placed(sitk.Image(shape[::-1], sitk.sitkUInt8), stack)


def _placed(image: sitk.Image, stack: SliceStack) -> sitk.Image:
    image.SetOrigin(stack.positions[0].tolist())
    image.SetSpacing(stack.spacing)
    image.SetDirection(stack.direction.ravel().tolist())
    if not stack.is_regular:
        image.SetMetaData(SLICE_POSITIONS, json.dumps(stack.positions.round(6).tolist()))
    return image


def read_file(path: Path) -> sitk.Image:
    """Read a NIfTI, NRRD or MetaImage file in HU as :func:`read_volume` would give it.

    Raises:
        ValueError: It is no three-dimensional image, or its grid is none of a chest CT.
        RuntimeError: It cannot be read.
    """
    image = sitk.ReadImage(str(path))
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[..., 0]
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(
            f"it has {image.GetDimension()} dimensions and {image.GetNumberOfComponentsPerPixel()} value(s) for each "
            "voxel, not one three-dimensional volume"
        )
    _check_grid(image)
    volume = sitk.GetImageFromArray(as_hu(sitk.GetArrayViewFromImage(image)))
    volume.CopyInformation(image)
    return volume


def _check_grid(image: sitk.Image) -> None:
    """Raise a ValueError for a grid on which nothing can be computed; headers may say anything."""
    check_voxel_size(image.GetSpacing())
    flatness = abs(np.linalg.det(np.array(image.GetDirection()).reshape(3, 3)))
    if not flatness > _SHEAR:
        raise ValueError("its axes do not span a volume")
    if not max(np.abs(image.GetOrigin())) < _FARTHEST_MM:
        raise ValueError(f"its first voxel is at {image.GetOrigin()} mm")


def write_volume(image: sitk.Image, target: Path) -> None:
    """Write a volume as an uncompressed NRRD: the fastest to write and to read, and it can hold a sheared grid."""
    write_atomically(target, lambda part: write_image(image, part))


def write_mask(image: sitk.Image, target: Path, compress: bool) -> None:
    """Write a mask or map in the format that the name of ``target`` says.

    ITK stores no sheared grid in NIfTI but the nearest box, so that the mask of a tilted series would lie beside
    its place. Such a one gets the true grid as its sform, as NiBabel, MONAI and most readers take it; ITK, which
    refuses it, still finds the box in its qform.
    """
    if not target.name.lower().endswith(_NIFTI) or not is_sheared(image):
        write_image(image, target, compress)
        return
    affine = _LPS @ affine_of(image)
    nifti = nibabel.Nifti1Image(sitk.GetArrayFromImage(image).transpose(), affine)
    nifti.set_sform(affine, code=1)
    nifti.set_qform(affine, code=1, strip_shears=True)
    nibabel.save(nifti, target)


def read_grid(path: Path) -> sitk.ImageFileReader:
    """Size, spacing (mm), origin (mm) and direction of an image file, without reading its voxels."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def affine_of(image: sitk.Image | sitk.ImageFileReader) -> np.ndarray:
    """4×4 from voxel index (column, row, slice) to patient coordinates (LPS, mm)."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return affine


def is_sheared(image: sitk.Image | sitk.ImageFileReader) -> bool:
    """Tell whether the axes of a grid are not at right angles, as those of a tilted gantry."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    return bool(np.abs(direction.T @ direction - np.eye(3)).max() > _SHEAR)


def as_hu(voxels: np.ndarray) -> np.ndarray:
    """HU as int16 where they are whole numbers that fit, else as float32."""
    if not np.isfinite(voxels).all():
        voxels = np.nan_to_num(voxels, nan=-1024, posinf=-1024, neginf=-1024)
    whole = np.issubdtype(voxels.dtype, np.integer) or np.array_equal(voxels, np.rint(voxels))
    fits = voxels.min() >= -32768 and voxels.max() <= 32767
    return voxels.astype(np.int16 if whole and fits else np.float32)


def _read_frames(paths: Sequence[Path], frames: list[dict[str, Any]]) -> np.ndarray:
    """Frames of multi-frame files (frame, row, column) in HU, in the order stored.

    GDCM applies the slope and intercept of a file's first frame to all of them.
    """
    rescale = [
        tuple(float(first_value(frame, keyword) or default) for keyword, default in _RESCALE) for frame in frames
    ]
    volumes = []
    for path in paths:
        voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(path), sitk.sitkFloat32))
        mine = rescale[: len(voxels)]
        rescale = rescale[len(voxels) :]
        if len(mine) < len(voxels):
            raise ValueError(f"{len(voxels)} frames of pixels, but {len(mine)} in the functional groups")
        first_slope, first_intercept = mine[0]
        for frame, (slope, intercept) in zip(voxels, mine, strict=True):
            if (slope, intercept) != mine[0]:
                frame[:] = (frame - first_intercept) / first_slope * slope + intercept
        volumes.append(voxels)
    if rescale:
        raise ValueError(f"the functional groups name {len(rescale)} frames more than there are pixels for")
    return np.concatenate(volumes)
