"""From the DICOM files of a series to one volume file on its true grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lib.atomic import write_atomically
from lib.datastore.slice_geometry import slice_grid
from lib.dicomweb.dicom_file import read_index_header


def read_volume(paths: Sequence[Path]) -> sitk.Image:
    """Read the slices of a CT series, in any order and transfer syntax, as one image.

    Args:
        paths: One file for each slice.

    Returns:
        HU (rescale slope and intercept applied) as int16 where they fit, else float32. Index order is column,
        row, slice; origin, spacing and direction are in patient coordinates (LPS, mm).

    Raises:
        ValueError: The slices are no regular grid.
    """
    grid = slice_grid([read_index_header(path)[0].to_json_dict() for path in paths])
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(paths[position]) for position in grid.order])
    image = reader.Execute()
    if image.GetPixelID() != sitk.sitkInt16:
        values = sitk.GetArrayViewFromImage(image)
        whole = np.array_equal(values, np.rint(values))
        fits = values.min() >= -32768 and values.max() <= 32767
        image = sitk.Cast(image, sitk.sitkInt16 if whole and fits else sitk.sitkFloat32)
    image.SetOrigin(grid.origin)
    image.SetSpacing(grid.spacing)
    image.SetDirection(grid.direction.ravel().tolist())
    return image


def write_volume(paths: Sequence[Path], target: Path) -> None:
    """Write the volume of a series as an uncompressed NRRD: the fastest to write and to read."""
    image = read_volume(paths)
    write_atomically(target, lambda part: sitk.WriteImage(image, str(part), useCompression=False))


def read_grid(path: Path) -> sitk.ImageFileReader:
    """Size, spacing (mm), origin (mm) and direction of an image file, without reading its voxels."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader
