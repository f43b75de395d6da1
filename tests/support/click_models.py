"""A model for clicks that marks what is bright, which shows geometry and rules without a training."""

import io

import numpy as np
import torch
from torch import nn

from lib.clicks.model import ClickModel
from lib.clicks.open_images import OpenImage
from lib.clicks.predictor import ClickPredictor
from lib.geometry.voxel_grid import VoxelGrid
from lib.inference import WeightsContent
from lib.settings import load_info

AIR, TISSUE = -1000, 50


class Bright(nn.Module):
    """Marks voxels above -400 HU, none within two voxels of a negative click, and the former mask if there is one."""

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.64))  # (-400 - hu_mean) / hu_std

    def forward(self, batch):
        image, _, negative, former = batch.float().split(1, dim=1)
        return 20 * (image - self.level) - 100 * (negative > 0.75).float() + 60 * former


class BrightModel(ClickModel):
    """`ClickModel` of the network that marks what is bright."""

    def network(self):
        return Bright()


def bright_predictor() -> ClickPredictor:
    content = io.BytesIO()
    torch.save(Bright().state_dict(), content)
    return ClickPredictor(BrightModel.from_info(load_info()), WeightsContent(content.getvalue(), "bright"))


def grid_in_order(axes, flips, size=(60, 56, 40), spacing=(0.8, 0.8, 1.25), positions=None, tilt=0.0) -> VoxelGrid:
    """Return a grid around the origin whose column, row and slice axes are patient axes, mirrored or not."""
    direction = np.zeros((3, 3))
    for column, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        direction[axis, column] = -1 if flip else 1
    direction[:, 2] += tilt * direction[:, 1]
    direction[:, 2] /= np.linalg.norm(direction[:, 2])
    origin = -direction @ (np.array(spacing) * (np.array(size) - 1) / 2)
    return VoxelGrid.from_geometry(size, origin, spacing, direction, positions)


def asymmetric_lesion(points: np.ndarray) -> np.ndarray:
    """Return which points (…, 3), LPS mm, are in a body without any symmetry: a block with three unequal arms."""
    x, y, z = np.moveaxis(points, -1, 0)
    block = (np.abs(x) < 3.5) & (np.abs(y) < 3.5) & (np.abs(z) < 3.5)
    left = (x >= 0) & (x < 10) & (np.abs(y - 1) < 2) & (np.abs(z) < 2.5)
    back = (y >= 0) & (y < 7) & (np.abs(x + 1) < 2) & (np.abs(z - 1) < 2.5)
    up = (z >= 0) & (z < 8) & (np.abs(x - 1) < 2) & (np.abs(y + 1) < 2)
    return block | left | back | up


def painted(grid: VoxelGrid, body=asymmetric_lesion) -> tuple[OpenImage, np.ndarray]:
    """Return an image of a body in air on a grid, and its mask (slice, row, column)."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)[..., ::-1]
    mask = body(grid.to_mm(index))
    return OpenImage(np.where(mask, TISSUE, AIR).astype(np.int16), grid), mask


def on_grid(region, grid: VoxelGrid) -> np.ndarray:
    mask = np.zeros(grid.shape, bool)
    mask[region.window] = region.mask
    return mask


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())
