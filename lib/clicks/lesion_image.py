"""An image with the outlines of its lesions in memory, for training and evaluation of the model for clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from lib.clicks.open_images import OpenImage, OpenImages
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid
from lib.transforms.reader_mean import consensus


def _no_clicks() -> np.ndarray:
    return np.empty((0, 3), int)


@dataclass(frozen=True)
class LesionImage:
    """An image with outlines.

    Attributes:
        name: Name of the case.
        patient: Its patient.
        image: HU, int16, and grid.
        readers: Mask of each reader, bool, shape (readers, slice, row, column).
        clicks: Where users first clicked on lesions: slice, row, column, shape (n, 3); not checked against the masks.
    """

    name: str
    patient: str
    image: OpenImage
    readers: np.ndarray
    clicks: np.ndarray = field(default_factory=_no_clicks)

    def is_whole(self, smallest_mm: float) -> bool:
        """Return whether the image is at least that wide in each slice, and so a whole chest rather than a crop."""
        grid = self.image.grid
        return min(length * mm for length, mm in zip(grid.size[:2], grid.spacing, strict=False)) >= smallest_mm

    @cached_property
    def consensus(self) -> np.ndarray:
        """What at least half of the readers marked, bool, shape (slice, row, column)."""
        if len(self.readers) == 1:
            return self.readers[0]
        return consensus(self.readers.mean(0, dtype=np.float32))


def read_lesion_image(name: str, patient: str, image: Path, mask: Path | None) -> LesionImage:
    """Read an image and its mask; a mask with a fourth axis holds those of several readers, None is an empty one.

    Raises:
        UserError: The mask does not have the size of the image.
    """
    volume = sitk.ReadImage(str(image), sitk.sitkInt16)
    grid = VoxelGrid.from_image(volume)
    readers = np.zeros((1, *grid.shape), bool) if mask is None else _read_readers(mask)
    _check_size(readers, grid, image, mask)
    return LesionImage(name, patient, OpenImage(sitk.GetArrayFromImage(volume), grid), readers)


def open_lesion_image(
    name: str, patient: str, image: Path, mask: Path, clicks: Sequence[Sequence[int]] = ()
) -> LesionImage:
    """Map an image into memory, which keeps its voxels on disk, and read its mask, see `read_lesion_image`.

    Args:
        name: Name of the case.
        patient: Its patient.
        image: Volume in HU; only an uncompressed NRRD file of 16-bit numbers is mapped.
        mask: Mask on the same grid.
        clicks: Where users first clicked on lesions: column, row, slice.

    Raises:
        UserError: The mask does not have the size of the image.
    """
    volume = OpenImages().open(image)
    readers = _read_readers(mask)
    _check_size(readers, volume.grid, image, mask)
    return LesionImage(name, patient, volume, readers, np.reshape(clicks, (-1, 3)).astype(int)[:, ::-1])


def _check_size(readers: np.ndarray, grid: VoxelGrid, image: Path, mask: Path | None) -> None:
    if readers.shape[1:] != grid.shape:
        raise UserError(f"{mask} is not on the grid of {image}: {readers.shape[:0:-1]} and {grid.size} voxels.")


def _read_readers(mask: Path) -> np.ndarray:
    """Return masks as (readers, slice, row, column); empty channels are no readers, see ``MeanOfReadersd``."""
    if mask.name.endswith(".nrrd"):
        return sitk.GetArrayFromImage(sitk.ReadImage(str(mask)))[None] > 0
    voxels = np.asarray(nibabel.load(mask).dataobj) > 0  # type: ignore[attr-defined]
    readers = voxels.reshape(*voxels.shape[:3], -1).transpose()
    marked = readers.any((1, 2, 3))
    return readers[marked] if marked.any() else readers[:1]
