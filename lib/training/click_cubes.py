"""Cubes around lesions for the training of the model for clicks: real ones, pasted into other lungs, and phantoms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.clicks.cube import Cube, sample
from lib.clicks.lesion_image import LesionImage
from lib.clicks.model import ClickModel
from lib.transforms.lungs import find_lungs

_SHARE_WHOLE = 0.2  # of the cubes, from the tumours of whole scans
_SHARE_PASTED = 0.65  # of the cubes of crops, pasted into a lung; the others end at the border of the crop
_SHARE_FIRST = 0.4  # of the cubes as of a first click, with the smallest voxels around the click
_SHARE_ENLARGED, _LARGEST_ZOOM = 0.25, 2.5
_SHARE_ONE_READER = 0.3  # of the cubes whose truth is the outline of one reader, not the consensus
_HALO_MM, _FEATHER_MM = 4.0, 3.0  # surroundings pasted with a lesion, and their soft border
_TRIES = 10


@dataclass(frozen=True)
class LesionCube:
    """A cube to learn from.

    Attributes:
        hu: Float32, shape (side, side, side).
        truth: The lesion, 0 to 1, same shape.
        centred: Whether a first click in the middle made this cube, and not the extent of a mask.
    """

    hu: np.ndarray
    truth: np.ndarray
    centred: bool


class CubeSampler:
    """Draws cubes around the lesions of images.

    Args:
        crops: Images that end close to their lesion, above all along the scan axis.
        whole: Whole scans; those with a lesion are drawn as they are, and all lend their lungs to the crops.
        model: The model.
        rng: Random numbers.
    """

    def __init__(
        self, crops: Sequence[LesionImage], whole: Sequence[LesionImage], model: ClickModel, rng: np.random.Generator
    ) -> None:
        self.crops = [crop for crop in crops if crop.consensus.any()]
        self.hosts = whole
        self.tumours = [scan for scan in whole if scan.consensus.any()]
        self.model = model
        self.rng = rng
        self._lungs = [_lung_voxels(host) for host in whole]

    def draw(self) -> LesionCube:
        """Draw a cube of a random lesion, mirrored and turned at random."""
        whole = self.tumours and (not self.crops or self.rng.random() < _SHARE_WHOLE)
        image = self._one_of(self.tumours if whole else self.crops)
        pasted = not whole and self.hosts and self.rng.random() < _SHARE_PASTED
        readers = image.readers
        if self.rng.random() < _SHARE_ONE_READER:
            reader = readers[self.rng.integers(len(readers))]
            truth = reader if reader.any() else image.consensus
        else:
            truth = image.consensus
        enlarged = pasted and self.rng.random() < _SHARE_ENLARGED
        zoom = self.rng.uniform(1, _LARGEST_ZOOM) if enlarged else 1.0
        cube, centred = self._cube(image, truth, zoom)
        inner = Cube(cube.centre, cube.voxel_mm / zoom, cube.side)
        hu, target = self._paste(image, truth, inner, cube.voxel_mm) if pasted else self._as_is(image, truth, inner)
        return self._turned(hu, target, centred)

    def _cube(self, image: LesionImage, truth: np.ndarray, zoom: float) -> tuple[Cube, bool]:
        """Return a cube around a lesion, in mm of a lesion enlarged by ``zoom``, and whether a click centred it."""
        places = np.argwhere(truth)
        grid, side, smallest = image.image.grid, self.model.side, self.model.voxel_mm
        if self.rng.random() < _SHARE_FIRST:
            click = places[self.rng.integers(len(places))]
            cube = Cube(grid.to_mm(click[::-1]), smallest * self.rng.uniform(0.9, 1.15), side)
            return cube, True
        ends = grid.to_mm(np.stack([places.min(0), places.max(0)])[:, ::-1])
        fitting = Cube.around(ends, smallest / zoom, side)
        voxel_mm = max(smallest, fitting.voxel_mm * zoom) * self.rng.uniform(0.85, 1.35)
        shift = self.rng.uniform(-0.12, 0.12, 3) * side * voxel_mm / zoom
        return Cube(fitting.centre + shift, voxel_mm, side), False

    def _as_is(self, image: LesionImage, truth: np.ndarray, cube: Cube) -> tuple[np.ndarray, np.ndarray]:
        grid = image.image.grid
        outside = self.model.preprocessing["hu_window"][0]
        return sample(image.image.hu, grid, cube, outside), sample(truth, grid, cube, 0)

    def _paste(
        self, image: LesionImage, truth: np.ndarray, inner: Cube, voxel_mm: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the cube of a crop, blended into that of a lung, so that the lesion also ends along the scan axis.

        Args:
            image: The crop.
            truth: Its lesion.
            inner: Cube of the crop; of an enlarged lesion, with smaller voxels than those of the lung.
            voxel_mm: Voxel of the cube of the lung.
        """
        host = self._lung(voxel_mm)
        hu, target = self._as_is(image, truth, inner)
        weight = _edge_weight(image, inner)
        if self.rng.random() < 0.5:
            distance = ndimage.distance_transform_edt(target < 0.5) * voxel_mm
            weight = weight * ((_HALO_MM + _FEATHER_MM - distance) / _FEATHER_MM).clip(0, 1)
        return host + weight * (hu - host), target * weight

    def _lung(self, voxel_mm: float) -> np.ndarray:
        """Return a cube at a random place of a lung, if possible without a lesion."""
        for _ in range(_TRIES):
            number = int(self.rng.integers(len(self.hosts)))
            host, lung = self.hosts[number], self._lungs[number]
            voxel = lung[self.rng.integers(len(lung))] + self.rng.integers(-3, 4, 3)
            grid = host.image.grid
            cube = Cube(grid.to_mm(voxel[::-1].clip(0, np.array(grid.size) - 1)), voxel_mm, self.model.side)
            if not host.consensus[cube.window(grid)].any():
                break
        return sample(host.image.hu, grid, cube, self.model.preprocessing["hu_window"][0])

    def _turned(self, hu: np.ndarray, truth: np.ndarray, centred: bool) -> LesionCube:
        """Mirror at random along each axis, and exchange axes, in half of the cubes also those of slices and rows."""
        axes = self.rng.permutation(3) if self.rng.random() < 0.5 else np.array([*self.rng.permutation(2), 2])
        flipped = tuple(axis for axis in range(3) if self.rng.random() < 0.5)
        hu, truth = (np.flip(values.transpose(axes), flipped) for values in (hu, truth))
        return LesionCube(np.ascontiguousarray(hu), np.ascontiguousarray(truth), centred)

    def _one_of(self, images: Sequence[LesionImage]) -> LesionImage:
        return images[self.rng.integers(len(images))]


def _edge_weight(image: LesionImage, cube: Cube) -> np.ndarray:
    """Return the weight of a crop in a cube: falling to 0 over 2 mm at its sides, over one slice beyond its ends."""
    grid = image.image.grid
    index = grid.to_index(cube.points())
    length = np.array(grid.size)
    beyond = np.maximum(-index, index - (length - 1))
    sides = (-beyond[..., :2] * np.array(grid.spacing[:2]) / 2).min(-1).clip(0, 1)
    return (sides * (1 - beyond[..., 2]).clip(0, 1)).astype(np.float32)


def _lung_voxels(host: LesionImage) -> np.ndarray:
    """Return voxels of the lungs, shape (n, 3), (slice, row, column); of the whole image if there are none."""
    x, y, z = host.image.grid.spacing
    box = find_lungs(host.image.hu.transpose(), (x, y, z))
    if box is None:
        return np.argwhere(np.ones([-(-length // 8) for length in host.image.hu.shape], bool)) * 8
    return (np.argwhere(box.mask) * box.steps)[:, ::-1]
