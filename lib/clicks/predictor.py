"""The predictor for clicks: from prompts on an image to the mask of one lesion on the grid of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lib.clicks.automatic import AutomaticModel, combined
from lib.clicks.channels import network_input
from lib.clicks.components import threshold_at, touching
from lib.clicks.corrections import follow_points
from lib.clicks.cube import Cube, Window, restore, sample
from lib.clicks.model import ClickModel
from lib.clicks.open_images import OpenImage
from lib.clicks.prompts import Prompts
from lib.clicks.region import Region
from lib.clicks.surroundings import Surroundings
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid
from lib.inference import WeightsFile, WeightsId, WeightsSource
from lib.inference.bfloat16 import has_bfloat16
from lib.inference.finite import check_finite
from lib.inference.gpu_memory import within_gpu_memory
from lib.inference.network_loader import NetworkLoader

_REACH_MM = 3.0  # distance from a positive point within which the lesion must begin
_MOST_PASSES = 4
_MOST_VOXEL_MM = 5.0
_MIRRORED = -1  # axis along which the second of the two averaged views is mirrored
_FIRST_SHARE, _LATER_SHARE = 0.85, 0.25  # of the model for whole scans: chosen on training crops (docs/method.md)
_COARSE = 1.5  # voxels larger than needed by this factor are refined


@dataclass(frozen=True)
class Outline:
    """The mask of one lesion.

    Attributes:
        region: The mask, in the smallest box that contains it and the former mask.
        weights: Identity of the weights.
    """

    region: Region
    weights: WeightsId


class ClickPredictor:
    """The model for clicks with weights. Thread-safe.

    The network first looks at the smallest cube around the points, as it is and mirrored, and both are averaged. If
    what it marks reaches the border of the cube, it looks again at a cube around that, with larger voxels if needed.

    Args:
        model: The model without its weights.
        weights: Source of the weights.
        automatic: The model for whole scans, whose probability counts as well, most before a user corrects an outline.
    """

    def __init__(self, model: ClickModel, weights: WeightsSource, automatic: AutomaticModel | None = None) -> None:
        self.model = model
        self.weights = weights
        self._automatic = automatic
        self._loader = NetworkLoader(model.network, weights, torch.channels_last_3d)
        self._prepared: tuple[WeightsId, WeightsId | None] | None = None

    @classmethod
    def from_file(
        cls, weights: WeightsFile, model: ClickModel, automatic: AutomaticModel | None = None
    ) -> ClickPredictor:
        """Return a predictor with the weights of a file, after loading them.

        Raises:
            UserError: The file is missing or damaged, or its weights do not match the network.
        """
        predictor = cls(model, weights, automatic)
        predictor.load()
        return predictor

    def load(self) -> WeightsId:
        """Load the current weights, and return their identity.

        Raises:
            UserError: There are no weights, or they are of another network.
        """
        return self._loader.load().weights

    def prepare(self, image: OpenImage) -> None:
        """Load the current weights; if they are new, run the networks on one cube, so that PyTorch chooses its kernels.

        Args:
            image: Any image.

        Raises:
            UserError: There are no weights, or they are of another network.
        """
        current = self.load(), self._automatic.weights() if self._automatic else None
        if current == self._prepared:
            return
        middle = Prompts(positive=np.array([[length // 2 for length in image.grid.size]]))
        cube = self._first_cube(image.grid, middle)
        self._probability(image, cube, middle)
        if self._automatic is not None:
            self._automatic.surroundings(image, cube)
        self._prepared = current

    def outline(self, image: OpenImage, prompts: Prompts) -> Outline:
        """Return the mask of the lesion that the prompts show.

        Once the user corrects an outline, each point is on the side that they say. Only the component that touches a
        positive point, or is within 3 mm of one, is marked, and nothing outside the cube and the box. Where the former
        mask lies outside all cubes, it stays.

        Args:
            image: The image.
            prompts: What the user showed, on the grid of the image.

        Raises:
            UserError: There are no weights, they do not match the network, the network's output is not finite, the GPU
                has too little memory, or the prompts are too far apart for one lesion.
        """
        cube = first = self._first_cube(image.grid, prompts)
        points, seen = image.grid.to_mm(prompts.seeds()), None
        followed = image.grid.to_mm(prompts.followed())
        for passes in range(1, _MOST_PASSES + 1):
            seeds = cube.to_index(points)
            probability, weights = self._probability(image, cube, prompts)
            seen = self._surroundings(image, cube, seen, points)
            if seen is not None:
                probability = self._with_automatic(probability, seen.sample(cube), cube, prompts, seeds)
            threshold = threshold_at(probability, seeds, _REACH_MM / cube.voxel_mm)
            found = touching(probability >= threshold, seeds, _REACH_MM / cube.voxel_mm)
            better = self._better_cube(cube, found, followed)
            if better is None or passes == _MOST_PASSES:
                break
            cube = better
        region = self._on_grid(image.grid, cube, probability, threshold, prompts)
        if prompts.former is not None:
            region = region.with_kept(prompts.former, [one.window(image.grid) for one in (first, cube)])
        return Outline(region, weights)

    def _first_cube(self, grid: VoxelGrid, prompts: Prompts) -> Cube:
        """Return the cube around all prompts; without the parts of the former mask that are too far for one lesion."""
        cube = Cube.around(grid.to_mm(prompts.extent()), self.model.voxel_mm, self.model.side)
        if cube.voxel_mm <= _MOST_VOXEL_MM:
            return cube
        shown = grid.to_mm(prompts.points())
        if len(shown):
            cube = Cube.around(shown, _MOST_VOXEL_MM, self.model.side)
        if cube.voxel_mm > _MOST_VOXEL_MM:
            extent = np.ptp(grid.to_mm(prompts.extent()), axis=0).max()
            raise UserError(
                f"The points, the box or the former mask extend over {extent:.0f} mm, too far for one lesion. Show one "
                "lesion at a time."
            )
        return cube

    def _probability(self, image: OpenImage, cube: Cube, prompts: Prompts) -> tuple[np.ndarray, WeightsId]:
        """Return the probability of lesion in a cube, and the weights it comes from."""
        former = None
        if prompts.former is not None:
            mask, start = prompts.former.mask, prompts.former.offset[::-1]
            former = sample(mask, image.grid, cube, outside=0, start=start)
        array = network_input(
            sample(image.hu, image.grid, cube, outside=self.model.preprocessing["hu_window"][0]),
            cube.to_index(image.grid.to_mm(prompts.positive)),
            cube.to_index(image.grid.to_mm(prompts.negative)),
            former,
            self.model.preprocessing,
        )
        return self._run(array)

    def _surroundings(
        self, image: OpenImage, cube: Cube, seen: Surroundings | None, points: np.ndarray
    ) -> Surroundings | None:
        """Return what the model for whole scans says about a cube.

        What it said about a smaller cube is enough unless it saw a lesion at the points that may continue beyond.
        """
        if self._automatic is None or (seen is not None and seen.holds_lesion(points, _REACH_MM)):
            return seen
        return self._automatic.surroundings(image, cube)

    def _with_automatic(
        self, probability: np.ndarray, automatic: np.ndarray, cube: Cube, prompts: Prompts, seeds: np.ndarray
    ) -> np.ndarray:
        """Return the probability in a cube, in which that of the model for whole scans also counts."""
        assert self._automatic is not None
        share = _LATER_SHARE if prompts.corrects() else _FIRST_SHARE
        reach = _REACH_MM / cube.voxel_mm
        return combined(probability, automatic, self._automatic.threshold, seeds, reach, share)

    @torch.inference_mode()
    def _run(self, array: np.ndarray) -> tuple[np.ndarray, WeightsId]:
        loaded = self._loader.load()
        device = next(loaded.network.parameters()).device
        view = torch.from_numpy(array)
        views = torch.stack([view, view.flip(_MIRRORED)])
        with within_gpu_memory(), torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
            logits = loaded.network(views.to(device, memory_format=torch.channels_last_3d))
        check_finite(logits, str(loaded.weights))
        seen, mirrored = logits[:, 0].float()
        return ((seen + mirrored.flip(_MIRRORED)) / 2).sigmoid().cpu().numpy(), loaded.weights

    def _better_cube(self, cube: Cube, found: np.ndarray, followed: np.ndarray) -> Cube | None:
        """Return a cube for a lesion that reaches the border of this one, or is small in it; None if it fits.

        Args:
            cube: The cube.
            found: The lesion in it.
            followed: Points that must be in the outline, and so in any cube; mm, shape (n, 3).
        """
        if not found.any():
            return None
        places = np.argwhere(found)
        low, high = places.min(0), places.max(0)
        extent = np.concatenate([cube.to_mm(np.stack([low - 0.5, high + 0.5])), followed])
        fitting = Cube.around(extent, self.model.voxel_mm, cube.side)
        fits = low.min() > 0 and high.max() < cube.side - 1
        if fits and cube.voxel_mm <= _COARSE * fitting.voxel_mm:
            return None
        return fitting if fitting.voxel_mm <= _MOST_VOXEL_MM else None

    def _on_grid(
        self, grid: VoxelGrid, cube: Cube, probability: np.ndarray, threshold: float, prompts: Prompts
    ) -> Region:
        """Return the lesion on the grid of the image, in a box that also contains the former mask."""
        window = cube.window(grid, *_ends(probability >= threshold / 2, cube.to_index(grid.to_mm(prompts.seeds()))))
        start = [side.start for side in window]
        spacing = np.array(grid.spacing[::-1])
        found = restore(probability, cube, grid, window)
        allowed = np.array(True) if prompts.box is None else _within(prompts.box, window)
        # So that what touches in the cube, whose voxels are others, does so here.
        seeds, reach = prompts.seeds()[:, ::-1] - start, (_REACH_MM + cube.voxel_mm) / spacing
        seen = (found >= threshold) & allowed
        if not prompts.corrects():
            return Region.of(touching(seen, seeds, reach), start, prompts.former)
        positive, negative = (points[:, ::-1] - start for points in (prompts.followed(), prompts.negative))
        corrected = (follow_points(found, threshold, positive, negative, spacing) >= 0) & allowed
        # A point beside the lesion has marked its own voxel, but still means that lesion.
        mask = touching(corrected, seeds, reach) | touching(seen & corrected, seeds, reach)
        return Region.of(mask, start, prompts.former)


def _ends(mask: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and last index of a mask and points along each axis, one voxel wider; of all if it is empty."""
    places = np.argwhere(mask)
    if not len(places):
        return np.zeros(3), np.array(mask.shape) - 1.0
    places = np.concatenate([places, seeds])
    return np.maximum(places.min(0) - 1, 0), np.minimum(places.max(0) + 1, np.array(mask.shape) - 1)


def _within(box: np.ndarray, window: Window) -> np.ndarray:
    """Return the voxels of a window (slice, row, column) that are in a box of two corners (column, row, slice)."""
    inside = [
        (np.arange(side.start, side.stop) >= low) & (np.arange(side.start, side.stop) <= high)
        for side, low, high in zip(window, *box[:, ::-1], strict=True)
    ]
    return inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None]
