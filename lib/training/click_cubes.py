"""Cubes around lesions for the training of the model for clicks: real ones, pasted into other lungs, and phantoms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.clicks.cube import Cube, sample
from lib.clicks.lesion_image import LesionImage
from lib.clicks.model import ClickModel
from lib.clicks.simulated_user import real_click
from lib.errors import UserError
from lib.geometry.connected_components import connected_components
from lib.transforms.lungs import find_lungs
from lib.transforms.reader_mean import consensus

_SHARE_PHANTOM = 0.03  # of the cubes
_SHARE_WHOLE = 0.15 / (1 - _SHARE_PHANTOM)  # of the other cubes
_SHARE_PASTED = 0.65  # of the cubes of crops, pasted into a lung; the others end at the border of the crop
_SHARE_FIRST = 0.4  # of the cubes as of a first click, with the smallest voxels around the click
_SHARE_ENLARGED, _LARGEST_ZOOM = 0.25, 2.5
_SHARE_ONE_READER = 0.3  # of the cubes whose truth is the outline of one reader, not the consensus
_HALO_MM, _FEATHER_MM = 4.0, 3.0  # surroundings pasted with a lesion, and their soft border
_TRIES = 10
_MARGIN = 4  # voxels around a lesion


@dataclass(frozen=True)
class LesionCube:
    """A cube to learn from.

    Attributes:
        hu: Float32, shape (side, side, side).
        truth: The lesion, 0 to 1, same shape.
        centred: Whether a first click in the middle made this cube, and not the extent of a mask.
        clicked: Where a user first clicked, fractional voxel index, shape (3,); None if that is to be simulated.
    """

    hu: np.ndarray
    truth: np.ndarray
    centred: bool
    clicked: np.ndarray | None = None


@dataclass(frozen=True)
class _Lesion:
    """A lesion of an image: the masks of its readers in a box around it.

    Attributes:
        image: The image.
        readers: Mask of each reader in the box, shape (readers, slice, row, column).
        start: First slice, row and column of the box.
    """

    image: LesionImage
    readers: np.ndarray
    start: np.ndarray

    def to_mm(self, index: np.ndarray) -> np.ndarray:
        """Return the positions in mm of voxels (slice, row, column) of the box, shape (…, 3)."""
        return self.image.image.grid.to_mm((index + self.start)[..., ::-1])


class CubeSampler:
    """Draws cubes around the lesions of images.

    Args:
        crops: Images that end close to their lesion, above all along the scan axis.
        whole: Whole scans; their lesions are drawn as they are, and all lend their lungs to the crops.
        phantoms: Further whole images with lesions, whose lungs are not lent.
        model: The model.
        rng: Random numbers.
        phantom_share: Share of the cubes of phantoms.
    """

    def __init__(
        self,
        crops: Sequence[LesionImage],
        whole: Sequence[LesionImage],
        phantoms: Sequence[LesionImage],
        model: ClickModel,
        rng: np.random.Generator,
        phantom_share: float = _SHARE_PHANTOM,
    ) -> None:
        real = 1 - phantom_share
        kinds = {"crop": (crops, real * (1 - _SHARE_WHOLE)), "whole": (whole, real * _SHARE_WHOLE)}
        kinds |= {"phantom": (phantoms, phantom_share)}
        lesions = {kind: [one for image in images for one in _lesions(image)] for kind, (images, _) in kinds.items()}
        self._lesions = {kind: found for kind, found in lesions.items() if found}
        if not self._lesions:
            raise UserError("There is nothing to train on: no image that is not held out has a lesion.")
        shares = np.array([kinds[kind][1] for kind in self._lesions])
        self._shares = shares / shares.sum()
        self._hosts = whole
        self._lungs = [_lung_voxels(host) for host in whole] if "crop" in self._lesions else []
        self._model = model
        self._rng = rng

    def draw(self) -> LesionCube:
        """Draw a cube of a random lesion, mirrored and turned at random."""
        kind = str(self._rng.choice(list(self._lesions), p=self._shares))
        lesion = self._lesions[kind][self._rng.integers(len(self._lesions[kind]))]
        pasted = kind == "crop" and bool(self._hosts) and self._rng.random() < _SHARE_PASTED
        zoom = self._rng.uniform(1, _LARGEST_ZOOM) if pasted and self._rng.random() < _SHARE_ENLARGED else 1.0
        truth = self._truth(lesion)
        click = real_click(truth, lesion.image.clicks - lesion.start, self._rng)
        cube, centred = self._cube(lesion, truth, zoom, click)
        inner = Cube(cube.centre, cube.voxel_mm / zoom, cube.side)
        seen = self._pasted(lesion, truth, inner, cube.voxel_mm) if pasted else self._as_is(lesion, truth, inner)
        return self._turned(LesionCube(*seen, centred, None if click is None else inner.to_index(lesion.to_mm(click))))

    def _truth(self, lesion: _Lesion) -> np.ndarray:
        """Return the consensus, or sometimes the mask of one reader, in the box of the lesion."""
        if self._rng.random() < _SHARE_ONE_READER:
            reader = lesion.readers[self._rng.integers(len(lesion.readers))]
            if reader.any():
                return reader
        return consensus(lesion.readers.mean(0))

    def _cube(self, lesion: _Lesion, truth: np.ndarray, zoom: float, click: np.ndarray | None) -> tuple[Cube, bool]:
        """Return a cube around a lesion, in mm of a lesion enlarged by ``zoom``, and whether a click centred it."""
        places = np.argwhere(truth)
        side, smallest = self._model.side, self._model.voxel_mm
        if self._rng.random() < _SHARE_FIRST:
            middle = places[self._rng.integers(len(places))] if click is None else click
            return Cube(lesion.to_mm(middle), smallest * self._rng.uniform(0.9, 1.15), side), True
        ends = lesion.to_mm(np.stack([places.min(0), places.max(0)]))
        fitting = Cube.around(ends, smallest / zoom, side)
        voxel_mm = max(smallest, fitting.voxel_mm * zoom) * self._rng.uniform(0.85, 1.35)
        shift = self._rng.uniform(-0.12, 0.12, 3) * side * voxel_mm / zoom
        return Cube(fitting.centre + shift, voxel_mm, side), False

    def _as_is(self, lesion: _Lesion, truth: np.ndarray, cube: Cube) -> tuple[np.ndarray, np.ndarray]:
        """Return image and lesion in a cube."""
        image = lesion.image.image
        hu = sample(image.hu, image.grid, cube, self._model.preprocessing["hu_window"][0])
        return hu, sample(truth, image.grid, cube, 0, lesion.start.tolist())

    def _pasted(
        self, lesion: _Lesion, truth: np.ndarray, inner: Cube, voxel_mm: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the cube of a crop, blended into that of a lung, so that the lesion also ends along the scan axis.

        Args:
            lesion: Lesion of a crop.
            truth: Its mask.
            inner: Cube of the crop; of an enlarged lesion, with smaller voxels than those of the lung.
            voxel_mm: Voxel of the cube of the lung.
        """
        host = self._lung(voxel_mm)
        hu, target = self._as_is(lesion, truth, inner)
        weight = _edge_weight(lesion.image, inner)
        if self._rng.random() < 0.5:
            distance = ndimage.distance_transform_edt(target < 0.5) * voxel_mm
            weight = weight * ((_HALO_MM + _FEATHER_MM - distance) / _FEATHER_MM).clip(0, 1)
        return host + weight * (hu - host), target * weight

    def _lung(self, voxel_mm: float) -> np.ndarray:
        """Return a cube at a random place of a lung, if possible without a lesion."""
        for _ in range(_TRIES):
            number = int(self._rng.integers(len(self._hosts)))
            host, lung = self._hosts[number], self._lungs[number]
            voxel = lung[self._rng.integers(len(lung))] + self._rng.integers(-3, 4, 3)
            grid = host.image.grid
            cube = Cube(grid.to_mm(voxel[::-1].clip(0, np.array(grid.size) - 1)), voxel_mm, self._model.side)
            if not host.consensus[cube.window(grid)].any():
                break
        return sample(host.image.hu, grid, cube, self._model.preprocessing["hu_window"][0])

    def _turned(self, cube: LesionCube) -> LesionCube:
        """Mirror at random along each axis, and exchange axes, in half of the cubes also those of slices and rows."""
        axes = self._rng.permutation(3) if self._rng.random() < 0.5 else np.array([*self._rng.permutation(2), 2])
        flipped = [axis for axis in range(3) if self._rng.random() < 0.5]
        hu, truth = (np.ascontiguousarray(np.flip(one.transpose(axes), flipped)) for one in (cube.hu, cube.truth))
        clicked = None if cube.clicked is None else cube.clicked[axes]
        if clicked is not None:
            clicked[flipped] = self._model.side - 1 - clicked[flipped]
        return LesionCube(hu, truth, cube.centred, clicked)


def _lesions(image: LesionImage) -> list[_Lesion]:
    """Return the lesions of the consensus of an image, each with the masks of all readers near it."""
    components, _ = connected_components(image.consensus)
    found = []
    for window in ndimage.find_objects(components):
        box = tuple(slice(max(side.start - _MARGIN, 0), side.stop + _MARGIN) for side in window)
        found.append(_Lesion(image, image.readers[(slice(None), *box)], np.array([side.start for side in box])))
    return found


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
