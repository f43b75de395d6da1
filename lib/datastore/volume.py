"""Reading of a series or image file as one volume on its true grid, and writing of volumes and masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel
import SimpleITK as sitk

from lib.datastore import volume_checksum
from lib.datastore.hounsfield import as_hu, read_hu
from lib.datastore.image_writing import write_image
from lib.dicomweb.dicom_file import check_elements, read_index_header, read_metadata
from lib.dicomweb.dicom_json import to_json
from lib.dicomweb.frames import is_multi_frame, slice_headers
from lib.dicomweb.image_header import read_image_header
from lib.geometry.slice_stack import SliceStack
from lib.geometry.voxel_grid import LPS_TO_RAS, VoxelGrid, check_grid
from lib.storage.atomic import write_atomically

READING = "3"  # increased when this module reads different voxels from the same files, to invalidate cached volumes
WARNINGS = "warnings"  # metadata key of a volume: JSON list of sentences
_NIFTI = (".nii", ".nii.gz")


def read_volume(paths: Sequence[Path]) -> sitk.Image:
    """Read the slices of a CT series, in any order and transfer syntax, as one image.

    Args:
        paths: One file for each slice, or files of enhanced multi-frame CT.

    Returns:
        HU as :func:`lib.datastore.hounsfield.read_hu` returns them. Index order is column, row, slice; origin, spacing
        and direction are in patient coordinates (LPS, mm). The direction is sheared for a tilted gantry. If the slices
        are tilted or not evenly spaced, the metadata has the true position of each; see
        :class:`lib.geometry.voxel_grid.VoxelGrid`.

    Raises:
        ValueError: The slices cannot be stacked.
        NotUsableError: A file is damaged.
    """
    for path in paths:
        check_elements(path)
    headers = [to_json(read_index_header(path)[0]) for path in paths]
    slices = slice_headers([read_metadata(path) for path in paths]) if is_multi_frame(headers) else headers
    stack = SliceStack.from_headers(slices)
    values = read_hu(paths, slices, stack.order)
    image = stack.grid(*values.voxels.shape[1:]).volume(values.voxels)
    if values.warnings:
        image.SetMetaData(WARNINGS, json.dumps(values.warnings))
    return image


def warnings_of(path: Path) -> list[str]:
    """Return the warnings of :func:`read_volume` from the metadata of a written volume, one sentence each."""
    try:
        header = read_image_header(path)
    except RuntimeError:  # reported when the voxels are read
        return []
    return json.loads(header.GetMetaData(WARNINGS)) if header.HasMetaDataKey(WARNINGS) else []


def read_file(path: Path) -> sitk.Image:
    """Read a NIfTI, NRRD or MetaImage file in HU, as :func:`read_volume` returns a series.

    Raises:
        ValueError: The file is not a three-dimensional image, or its grid is not plausible for a chest CT.
        RuntimeError: The file cannot be read.
    """
    image = sitk.ReadImage(str(path))
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[..., 0]
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(
            f"it has {image.GetDimension()} dimensions and {image.GetNumberOfComponentsPerPixel()} value(s) for each "
            "voxel, not one three-dimensional volume"
        )
    for name in image.GetMetaDataKeys():  # a foreign file must not set this app's own keys
        image.EraseMetaData(name)
    check_grid(VoxelGrid.from_image(image))
    if image.GetPixelID() == sitk.sitkInt16:
        return image
    volume = sitk.GetImageFromArray(as_hu(sitk.GetArrayViewFromImage(image)))
    volume.CopyInformation(image)
    return volume


def write_volume(image: sitk.Image, target: Path) -> None:
    """Write a volume as uncompressed NRRD, the fastest format, which also supports sheared grids.

    The header contains a checksum, see :mod:`lib.datastore.volume_checksum`.
    """

    def write(part: Path) -> None:
        image.SetMetaData(volume_checksum.KEY, volume_checksum.BLANK)  # in place: a copy would copy the voxels
        try:
            write_image(image, part)
        finally:
            image.EraseMetaData(volume_checksum.KEY)
        volume_checksum.add_checksum(part)

    write_atomically(target, write)


def write_mask(image: sitk.Image, target: Path, compress: bool) -> None:
    """Write a mask or map in the format given by the suffix of ``target``.

    ITK cannot store a sheared grid in NIfTI: it writes the nearest rectangular one, which would misplace the mask of a
    tilted series. Such a mask gets the true grid as sform, which NiBabel, MONAI and most readers use; ITK, which
    rejects a sheared sform, reads the rectangular grid of the qform.
    """
    grid = VoxelGrid.from_image(image)
    if not target.name.lower().endswith(_NIFTI) or not grid.is_sheared:
        write_image(image, target, compress)
        return
    affine = LPS_TO_RAS @ grid.affine
    nifti = nibabel.Nifti1Image(sitk.GetArrayFromImage(image).transpose(), affine)
    nifti.set_sform(affine, code=1)
    nifti.set_qform(affine, code=1, strip_shears=True)
    nibabel.save(nifti, target)
