"""From the DICOM files of a series, or another image file, to one volume file on its true grid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from lib.datastore import volume_seal
from lib.datastore.frames import is_multi_frame, slices_of
from lib.datastore.hounsfield import as_hu, read_hu
from lib.datastore.image_writing import write_image
from lib.dicomweb.dicom_file import check_elements, read_index_header, read_metadata
from lib.dicomweb.dicom_json import to_json
from lib.geometry.slice_stack import SLICE_POSITIONS, SliceStack, check_voxel_size, slice_stack
from lib.storage.atomic import write_atomically

READING = "2"  # counted up where the same files give other voxels than before: cached volumes are made anew
WARNINGS = "warnings"  # metadata of a volume: JSON of sentences
_NIFTI = (".nii", ".nii.gz")
_SHEAR = 1e-4
_FARTHEST_MM = 1e5  # from the origin of the patient's coordinates; farther off, 32 bits cannot tell voxels apart
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # NIfTI's patient axes are RAS


def read_volume(paths: Sequence[Path]) -> sitk.Image:
    """Read the slices of a CT series, in any order and transfer syntax, as one image.

    Args:
        paths: One file for each slice, or files of enhanced multi-frame CT.

    Returns:
        HU as :func:`lib.datastore.hounsfield.read_hu` has them. Index order is column, row, slice; origin, spacing and
        direction are in patient coordinates (LPS, mm). The direction is sheared for a tilted gantry. Where the slices
        are not evenly spaced or tilted, the metadata ``slice_positions``
        has the true position of each; see :mod:`lib.geometry.slice_stack`.

    Raises:
        ValueError: The slices cannot be stacked.
        NotUsableError: A file is damaged.
    """
    for path in paths:
        check_elements(path)
    headers = [to_json(read_index_header(path)[0]) for path in paths]
    multi_frame = is_multi_frame(headers)
    slices = slices_of([read_metadata(path) for path in paths]) if multi_frame else headers
    stack = slice_stack(slices)
    values = read_hu(paths, slices, stack.order)
    image = _placed(sitk.GetImageFromArray(values.voxels), stack)
    if values.warnings:
        image.SetMetaData(WARNINGS, json.dumps(values.warnings))
    return image


def warnings_of(path: Path) -> list[str]:
    """What :func:`read_volume` found to beware of in the values of a volume that was written, a sentence each."""
    try:
        header = read_grid(path)
    except RuntimeError:  # who reads its voxels says what is wrong with it
        return []
    return json.loads(header.GetMetaData(WARNINGS)) if header.HasMetaDataKey(WARNINGS) else []


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
    if image.GetPixelID() == sitk.sitkInt16:  # as it is, but for what its header says besides
        for name in image.GetMetaDataKeys():
            image.EraseMetaData(name)
        return image
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
    """Write a volume as an uncompressed NRRD: the fastest to write and to read, and it can hold a sheared grid.

    Its header gets a checksum, see :mod:`lib.datastore.volume_seal`.
    """

    def write(part: Path) -> None:
        image.SetMetaData(volume_seal.KEY, volume_seal.BLANK)  # on a copy, the voxels would be copied too
        try:
            write_image(image, part)
        finally:
            image.EraseMetaData(volume_seal.KEY)
        volume_seal.seal(part)

    write_atomically(target, write)


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
