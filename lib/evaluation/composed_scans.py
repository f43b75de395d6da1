"""Composed test scans with known lesions: nodules of other patients inserted into the lungs of a scan at true scale."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Orientationd, Spacingd
from scipy import ndimage

from lib.geometry.boxes import widened
from lib.transforms.lungs import AIR_HU, inner_air

logger = logging.getLogger(__name__)

APART_MM = 10.0
"""Smallest distance between two lesions."""
_HALO_MM = 4.0  # surroundings copied with a nodule
_FEATHER_MM = 3.0  # soft border around the halo
_CLOSING_MM = 4.0  # radius of the vessels that count as lung
_SHARE_IN_LUNG = 0.9
_SHARE_OF_LUNG = 0.8
_TRIES = 200


@dataclass(frozen=True)
class Volume:
    """CT image with its lesion mask.

    Attributes:
        name: Name of the case.
        hu: CT in HU, (X, Y, Z), axes L, P, S.
        mask: Lesions, bool, same shape.
        affine: Voxel index to mm, RAS, 4x4.
        spacing: Voxel spacing in mm.
    """

    name: str
    hu: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    spacing: tuple[float, float, float]


def read_volume(name: str, image: Path, mask: Path | None, spacing: Sequence[float] | None = None) -> Volume:
    """Read an image and its mask, reoriented to L, P, S.

    Args:
        name: Name of the case.
        image: Volume in HU.
        mask: Volume on the same grid, or None without lesions.
        spacing: Voxel spacing in mm to resample both to by linear interpolation; None keeps the grid.
    """
    files = {"image": image, "mask": mask} if mask else {"image": image}
    keys = tuple(files)
    steps = [LoadImaged(keys=keys), EnsureChannelFirstd(keys=keys), Orientationd(keys=keys, axcodes="LPS", labels=None)]
    if spacing is not None:
        steps.append(Spacingd(keys=keys, pixdim=spacing, mode="bilinear", padding_mode="border"))
    data = Compose(steps)(files)
    hu: MetaTensor = data["image"]
    x_mm, y_mm, z_mm = (float(length) for length in hu.pixdim)
    return Volume(
        name,
        hu[0].numpy().astype(np.float32),
        data["mask"][0].numpy() >= 0.5 if mask else np.zeros(hu.shape[1:], bool),
        np.asarray(hu.affine, float),
        (x_mm, y_mm, z_mm),
    )


def is_in_lung(nodule: Volume) -> bool:
    """Return whether four fifths of a nodule's halo are lung; otherwise a piece of chest wall would be copied too.

    A crop without a nodule, or without anything around it, is not in lung.
    """
    if not nodule.mask.any():
        return False
    distance = ndimage.distance_transform_edt(~nodule.mask, sampling=nodule.spacing)
    halo = (distance > 0) & (distance <= _HALO_MM + _FEATHER_MM)
    return bool(halo.any() and (nodule.hu[halo] < AIR_HU).mean() >= _SHARE_OF_LUNG)


def compose(
    scan: Volume, lung: np.ndarray, nodules: Sequence[Volume], rng: np.random.Generator
) -> tuple[Volume, list[str]]:
    """Insert nodules into the lungs of a scan, apart from each other and from the scan's own lesions.

    A nodule is blended in with a narrow halo of its original surroundings. Where its crop ends at the nodule along the
    scan axis, it ends there in the scan too.

    Args:
        scan: Scan; not modified.
        lung: Lung mask of the scan, see :func:`find_lung`.
        nodules: Crops with the voxel spacing of the scan, each with a complete nodule.
        rng: Generator of the positions.

    Returns:
        The new volume, whose mask has the scan's own and the inserted lesions, and the names of the inserted nodules.
    """
    hu, mask = scan.hu.copy(), scan.mask.copy()
    free = lung & ~grown(mask, scan.spacing, APART_MM)
    placed = []
    for nodule in nodules:
        window = _place(free, nodule.mask, rng) if nodule.mask.any() else None  # resampling may lose a thin nodule
        if window is None:
            logger.info("No free position for %s in %s.", nodule.name, scan.name)
            continue
        hu[window] += _weight(nodule) * (nodule.hu - hu[window])
        mask[window] |= nodule.mask
        keep_apart(free, mask, window, scan.spacing)
        placed.append(nodule.name)
    return Volume(scan.name, hu, mask, scan.affine, scan.spacing), placed


def grown(mask: np.ndarray, spacing: Sequence[float], reach_mm: float) -> np.ndarray:
    """Return a mask dilated by ``reach_mm``; an empty one as it is."""
    if not mask.any():
        return mask
    return ndimage.distance_transform_edt(~mask, sampling=spacing) <= reach_mm


def keep_apart(free: np.ndarray, mask: np.ndarray, window: Sequence[slice], spacing: Sequence[float]) -> None:
    """Take what is within ``APART_MM`` of lesions that were set into a window of the mask out of ``free``, in place."""
    around = widened(window, [int(np.ceil(APART_MM / length)) for length in spacing], mask.shape)
    free[around] &= ~grown(mask[around], spacing, APART_MM)


def find_lung(scan: Volume) -> np.ndarray:
    """Return the air in the lungs including vessels as a mask, bool, (X, Y, Z)."""
    air = inner_air(scan.hu < AIR_HU, float(np.prod(scan.spacing)) / 1000)
    return ~grown(~grown(air, scan.spacing, _CLOSING_MM), scan.spacing, _CLOSING_MM)


def save_volume(volume: Volume, name: str, output: Path, extension: str = ".nii.gz") -> tuple[Path, Path]:
    """Write a volume to ``images/`` and its mask to ``masks/``, and return both paths.

    Args:
        volume: The volume.
        name: Name of the files without extension.
        output: Parent of the two folders.
        extension: ``.nii.gz`` or, faster and larger, ``.nii``.
    """
    paths = []
    for folder, values in (("images", volume.hu.round().astype(np.int16)), ("masks", volume.mask.astype(np.uint8))):
        (output / folder).mkdir(parents=True, exist_ok=True)
        paths.append(output / folder / f"{name}{extension}")
        nib.save(nib.Nifti1Image(values, volume.affine), paths[-1])
    return paths[0], paths[1]


def _weight(nodule: Volume) -> np.ndarray:
    """Return the blending weight: 1 on the nodule and its halo, falling to 0 over the soft border."""
    distance = ndimage.distance_transform_edt(~nodule.mask, sampling=nodule.spacing)
    return ((_HALO_MM + _FEATHER_MM - distance) / _FEATHER_MM).clip(0, 1).astype(np.float32)


def _place(free: np.ndarray, nodule: np.ndarray, rng: np.random.Generator) -> tuple[slice, ...] | None:
    """Return a random window of the nodule's shape with the nodule in free lung, or None after ``_TRIES`` attempts."""
    middle = np.rint(ndimage.center_of_mass(nodule)).astype(int)
    voxels = np.argwhere(free)
    for _ in range(_TRIES if len(voxels) else 0):
        start = voxels[rng.integers(len(voxels))] - middle
        window = tuple(slice(low, low + length) for low, length in zip(start, nodule.shape, strict=True))
        if (start >= 0).all() and free[window].shape == nodule.shape and free[window][nodule].mean() >= _SHARE_IN_LUNG:
            return window
    return None
