"""Dice of one lesion after each of several simulated clicks."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.clicks.lesion_image import LesionImage
from lib.clicks.predictor import ClickPredictor
from lib.clicks.prompts import Prompts
from lib.clicks.region import Region
from lib.clicks.simulated_user import Click, first_click, next_click
from lib.evaluation.metrics import VoxelCounts, sphere_diameter
from lib.geometry.boxes import widened
from lib.geometry.connected_components import connected_components

PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}  # axis of (slice, row, column) across the plane, of axial slices
_SMALLEST_VOXELS = 3  # smaller components are crumbs of painting, or of what readers disagreed on
_MARGIN_MM = 60.0  # around a lesion, within which an outline is compared with it


@dataclass(frozen=True)
class ClickedLesion:
    """A lesion with the results of its clicks.

    Attributes:
        name: Name of the image.
        diameter_mm: Diameter of a sphere of the same volume.
        plane: Plane in which the clicks were set; None for any.
        dice: Dice after each click; once the outline is right everywhere, it stays.
        masks: Mask after each click as regions of the image.
    """

    name: str
    diameter_mm: float
    plane: str | None
    dice: Sequence[float]
    masks: Sequence[Region]


def click_through(
    predictor: ClickPredictor,
    image: LesionImage,
    truth: Region,
    clicks: int,
    *,
    seed: int = 0,
    plane: str | None = None,
) -> ClickedLesion:
    """Outline a lesion click by click; the outline so far is the former mask of the next click.

    Args:
        predictor: The model.
        image: The image.
        truth: The lesion.
        clicks: Number of clicks.
        seed: Seed of the places of the clicks.
        plane: Plane in which the user clicks; None for any.
    """
    rng = np.random.default_rng([seed, zlib.crc32(image.name.encode()), *truth.offset])
    grid, spacing = image.image.grid, image.image.grid.spacing[::-1]
    window = widened(truth.window, [round(_MARGIN_MM / mm) for mm in spacing], grid.shape)
    wanted = _in_window(truth, window)
    axis = None if plane is None else PLANES[plane]
    points: dict[bool, list[np.ndarray]] = {True: [], False: []}
    found, dice, masks = np.zeros_like(wanted), [], []
    former: Region | None = None
    for number in range(clicks):
        click: Click | None
        if number == 0:
            click = first_click(wanted, rng, spacing, axis)
        else:
            click = next_click(found, wanted, rng, spacing, axis)
        if click is not None:
            points[click.positive].append((click.place + [side.start for side in window])[::-1])
            former = predictor.outline(image.image, _prompts(points, former)).region
            found = _in_window(former, window)
        dice.append(VoxelCounts.of(found, wanted).dice)
        assert former is not None
        masks.append(former)
    voxel_mm3 = float(np.prod(spacing))
    return ClickedLesion(image.name, sphere_diameter(wanted.sum() * voxel_mm3), plane, dice, masks)


def lesion_regions(image: LesionImage) -> list[Region]:
    """Return the lesions of the consensus of an image."""
    components, _ = connected_components(image.consensus)
    return [
        Region.of(components[window] == number, [side.start for side in window])
        for number, window in enumerate(ndimage.find_objects(components), start=1)
    ]


def clickable(regions: Sequence[Region]) -> list[Region]:
    """Return the regions that are large enough for a user to click at."""
    return [region for region in regions if region.mask.sum() >= _SMALLEST_VOXELS]


def _prompts(points: dict[bool, list[np.ndarray]], former: Region | None) -> Prompts:
    positive, negative = (np.reshape(points[kind], (-1, 3)).astype(int) for kind in (True, False))
    return Prompts(positive, negative, former=former)


def _in_window(region: Region, window: Sequence[slice]) -> np.ndarray:
    """Return the mask of a region in a window of the image, bool; what lies beyond is cut off."""
    mask = np.zeros([side.stop - side.start for side in window], bool)
    places = np.argwhere(region.mask) + region.offset[::-1] - [side.start for side in window]
    inside = ((places >= 0) & (places < mask.shape)).all(1)
    mask[tuple(places[inside].T)] = True
    return mask
