"""Whole scans whose lesions are known: nodules of other patients set into the lungs of a scan at their true scale."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Orientationd, Spacingd
from scipy import ndimage

from lib.transforms.lungs import AIR_HU, inner_air

logger = logging.getLogger(__name__)

_HALO_MM = 4.0  # of its own surroundings that comes with a nodule, ...
_FEATHER_MM = 3.0  # ... and the soft border after that
_APART_MM = 10.0  # between two lesions
_CLOSING_MM = 4.0  # vessels so thick belong to the lung
_SHARE_IN_LUNG = 0.9
_SHARE_OF_LUNG = 0.8
_TRIES = 200


@dataclass(frozen=True)
class Volume:
    """An image with its mask.

    Attributes:
        name: Of the case.
        hu: CT in HU, (X, Y, Z), axes L, P, S.
        mask: Lesions, bool, same shape.
        affine: Voxel to mm, RAS, 4x4.
        spacing: Voxel size in mm.
    """

    name: str
    hu: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    spacing: tuple[float, float, float]


def read_volume(name: str, image: Path, mask: Path, spacing: Sequence[float] | None = None) -> Volume:
    """Read an image and its mask, turned to L, P, S.

    Args:
        name: Of the case.
        image: Volume in HU.
        mask: Volume on the same grid.
        spacing: Voxel size in mm to bring both to by linear interpolation; None leaves the grid alone.
    """
    keys = ("image", "mask")
    steps = [LoadImaged(keys=keys), EnsureChannelFirstd(keys=keys), Orientationd(keys=keys, axcodes="LPS", labels=None)]
    if spacing is not None:
        steps.append(Spacingd(keys=keys, pixdim=spacing, mode="bilinear", padding_mode="border"))
    data = Compose(steps)({"image": image, "mask": mask})
    hu: MetaTensor = data["image"]
    return Volume(
        name,
        hu[0].numpy().astype(np.float32),
        data["mask"][0].numpy() >= 0.5,
        np.asarray(hu.affine, float),
        tuple(float(length) for length in hu.pixdim),
    )


def is_in_lung(nodule: Volume) -> bool:
    """Whether four fifths of a nodule's halo are lung; one on the chest wall would take a piece of it along."""
    distance = ndimage.distance_transform_edt(~nodule.mask, sampling=nodule.spacing)
    halo = (distance > 0) & (distance <= _HALO_MM + _FEATHER_MM)
    return bool((nodule.hu[halo] < AIR_HU).mean() >= _SHARE_OF_LUNG)


def compose(
    scan: Volume, lung: np.ndarray, nodules: Sequence[Volume], rng: np.random.Generator
) -> tuple[Volume, list[str]]:
    """Set nodules into the lungs of a scan, apart from each other and from the scan's own lesions.

    A nodule comes with a narrow halo of what surrounded it; the border is soft. A cut-out that
    ends at its nodule along the scan axis ends there in the scan too.

    Args:
        scan: Left as it is.
        lung: What ``find_lung`` finds in it.
        nodules: With the voxel size of the scan; each shows its nodule whole.
        rng: Decides where they go.

    Returns:
        The new volume, whose mask holds the scan's own lesions and those set in, and the names of the nodules that
        found a place.
    """
    hu, mask = scan.hu.copy(), scan.mask.copy()
    free = lung & ~_grown(mask, scan.spacing, _APART_MM)
    placed = []
    for nodule in nodules:
        window = _place(free, nodule.mask, rng) if nodule.mask.any() else None  # slices may be farther apart than it
        if window is None:
            logger.info("%s finds no place in %s.", nodule.name, scan.name)
            continue
        hu[window] += _weight(nodule) * (nodule.hu - hu[window])
        mask[window] |= nodule.mask
        around = _widened(window, scan.spacing, mask.shape)
        free[around] &= ~_grown(mask[around], scan.spacing, _APART_MM)
        placed.append(nodule.name)
    return Volume(scan.name, hu, mask, scan.affine, scan.spacing), placed


def find_lung(scan: Volume) -> np.ndarray:
    """The air in the lungs with the vessels in it, bool, (X, Y, Z)."""
    air = inner_air(scan.hu < AIR_HU, float(np.prod(scan.spacing)) / 1000)
    return ~_grown(~_grown(air, scan.spacing, _CLOSING_MM), scan.spacing, _CLOSING_MM)


def _grown(mask: np.ndarray, spacing: Sequence[float], reach_mm: float) -> np.ndarray:
    """All that is at most so far from a mask."""
    if not mask.any():
        return mask
    return ndimage.distance_transform_edt(~mask, sampling=spacing) <= reach_mm


def _widened(window: Sequence[slice], spacing: Sequence[float], shape: Sequence[int]) -> tuple[slice, ...]:
    """A window with all around it that is less than ``_APART_MM`` away."""
    reach = [int(np.ceil(_APART_MM / length)) for length in spacing]
    return tuple(
        slice(max(cut.start - margin, 0), min(cut.stop + margin, length))
        for cut, margin, length in zip(window, reach, shape, strict=True)
    )


def _weight(nodule: Volume) -> np.ndarray:
    """1 on the nodule and its halo, falling to 0 over the soft border."""
    distance = ndimage.distance_transform_edt(~nodule.mask, sampling=nodule.spacing)
    return ((_HALO_MM + _FEATHER_MM - distance) / _FEATHER_MM).clip(0, 1).astype(np.float32)


def _place(free: np.ndarray, nodule: np.ndarray, rng: np.random.Generator) -> tuple[slice, ...] | None:
    """A window of the nodule's shape whose nodule lies in free lung, or None after many tries."""
    middle = np.rint(ndimage.center_of_mass(nodule)).astype(int)
    voxels = np.argwhere(free)
    for _ in range(_TRIES if len(voxels) else 0):
        start = voxels[rng.integers(len(voxels))] - middle
        window = tuple(slice(low, low + length) for low, length in zip(start, nodule.shape, strict=True))
        if (start >= 0).all() and free[window].shape == nodule.shape and free[window][nodule].mean() >= _SHARE_IN_LUNG:
            return window
    return None
