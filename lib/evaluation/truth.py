"""Ground truth of one image: a mask, or the masks of several readers and their consensus."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from monai.transforms import LoadImage

from lib.errors import UserError
from lib.geometry.voxel_grid import voxel_mm3
from lib.transforms.reader_mean import consensus

_SAME_PLACE_MM = 0.1


@dataclass(frozen=True)
class Truth:
    """Ground truth on the grid of its image.

    Attributes:
        mask: The consensus of the readers, or the only mask; shape (X, Y, Z), bool.
        readers: The mask of each reader, shape (X, Y, Z, readers), bool; of a single mask with one reader.
        voxel_mm3: Volume of a voxel in mm³.
    """

    mask: np.ndarray
    readers: np.ndarray
    voxel_mm3: float

    @property
    def marked(self) -> np.ndarray:
        """What any of the readers marked, shape (X, Y, Z), bool."""
        return self.readers.any(axis=3)


def read_truth(image: Path, mask: Path) -> Truth:
    """Read a mask, or of a file with a fourth axis the masks of several readers along it.

    Raises:
        UserError: The mask is not on the grid of the image.
    """
    load = LoadImage(image_only=True)
    truth: MetaTensor = load(mask)
    scan: MetaTensor = load(image)
    same_size = truth.shape[:3] == scan.shape
    far = np.abs(np.asarray(truth.affine - scan.affine)).max() if same_size else np.inf
    if far > _SAME_PLACE_MM:
        raise UserError(f"{mask} is not on the grid of {image}: size, spacing or position differ.")
    volume = voxel_mm3(truth.affine)
    voxels = np.asarray(truth)
    if voxels.ndim == 3:
        agreed = consensus(voxels)
        return Truth(agreed, agreed[..., None], volume)
    readers = voxels > 0
    return Truth(consensus(readers.mean(axis=3)), readers, volume)
