"""Pasting of nodules and decoys into patches: where, with which soft borders, and the cavities of large nodules."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

LEAST_AT_WALL_PX = 4  # radius of the smallest nodule of which enough is left when the wall replaces a part of it
_FEATHER_PX = 3.0  # width of the soft border of pasted regions
_HALO_PX = 4.0  # width of the rim pasted with a nodule without its surroundings
_VESSEL_PX = 3  # radius of the vessels that count as lung
_TEXTURE_PX = 1.5  # standard deviation of the smoothing of the texture of large tumours
_LEAST_WALL_PX = 3.0  # thickness of the wall of a cavity


def blend(
    stack: torch.Tensor,
    square: torch.Tensor,
    within: torch.Tensor,
    weight: torch.Tensor,
    centre: Sequence[int],
    open_to: torch.Tensor | None = None,
) -> None:
    """Blend a square into a patch, in place; what is outside the patch is cut off.

    Args:
        stack: The patch (channels + target, H, W).
        square: Values to paste (channels + target, h, w).
        within: Channels of the square that are valid; the others keep the patch.
        weight: Blending weights, (h, w) or of each channel (channels, h, w).
        centre: Row and column of the patch for the middle of the square.
        open_to: Pixels of each channel that may change, bool, (channels, H, W); None is all.
    """
    start = [position - length // 2 for position, length in zip(centre, weight.shape[-2:], strict=True)]
    place = tuple(
        slice(max(low, 0), min(low + length, size))
        for low, length, size in zip(start, weight.shape[-2:], stack.shape[1:], strict=True)
    )
    inner = tuple(slice(cut.start - low, cut.stop - low) for cut, low in zip(place, start, strict=True))
    weights = weight[..., inner[0], inner[1]].expand(len(stack) - 1, -1, -1)
    if open_to is not None:
        weights = weights * open_to[(slice(None), *place)]
    patch, pasted = stack[(slice(None), *place)], square[(slice(None), *inner)]
    for channel in torch.nonzero(within)[:, 0].tolist():
        patch[channel] += weights[channel] * (pasted[channel] - patch[channel])
    patch[-1] = torch.where(weights[len(weights) // 2] >= 0.5, pasted[-1], patch[-1])


def rim(lung: torch.Tensor, radius: int) -> torch.Tensor:
    """Return the lung (h, w) so close to its border that a nodule of ``radius`` pixels extends beyond it."""
    return lung & grown(~lung, max(radius * 2 // 3, 1))


def grown(mask: torch.Tensor, radius: int) -> torch.Tensor:
    """Return masks (..., h, w) dilated by a square of ``2 * radius + 1`` pixels."""
    planes = mask.float().reshape(-1, 1, *mask.shape[-2:])
    return F.max_pool2d(planes, 2 * radius + 1, 1, radius).reshape(mask.shape) > 0


def closed(lung: torch.Tensor) -> torch.Tensor:
    """Return lung masks (..., h, w) with vessels and small holes filled."""
    return ~grown(~grown(lung, _VESSEL_PX), _VESSEL_PX)


def equivalent_radius(target: torch.Tensor) -> int:
    """Return the radius in pixels of the disc that has the area of a nodule (h, w)."""
    return round(float((target >= 0.5).sum() / torch.pi) ** 0.5)


def solid_tumour(
    shape: torch.Tensor, offsets_px: Sequence[float], value: float, deviation: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a tumour of soft tissue with sharp edges in the shape of a nodule, which enlarging alone would blur.

    Above and below the segmented slice it becomes smaller like an ellipsoid.

    Args:
        shape: The enlarged nodule's target, (h, w).
        offsets_px: Distance of each channel from the segmented slice, in pixels.
        value: Normalised mean of the tissue.
        deviation: Standard deviation of its texture, normalised.
        rng: Source of the texture.

    Returns:
        Values (channels + target, h, w), and blending weights (channels, h, w).
    """
    depth = torch.from_numpy(ndimage.distance_transform_edt(shape.numpy() >= 0.5)).float()
    radius = float(depth.max())
    heights = torch.tensor(offsets_px).clamp(-radius, radius)
    shrunk = radius - (radius**2 - heights**2).sqrt()
    weights = (depth - shrunk[:, None, None]).clamp(0, 1)
    texture = ndimage.gaussian_filter(rng.normal(size=shape.shape), _TEXTURE_PX)
    tissue = value + deviation / max(texture.std(), 1e-6) * torch.from_numpy(texture).float()
    return torch.cat([tissue.expand(len(weights), -1, -1), (depth > 0)[None].float()]), weights


def add_cavity(stack: torch.Tensor, offsets_px: Sequence[float], air: float, rng: np.random.Generator) -> None:
    """Fill the core of a nodule with air, in place; a nodule whose wall would be too thin stays solid.

    The cavity narrows with the distance from the segmented slice. The target includes it, as readers outline the whole
    lesion.

    Args:
        stack: The nodule (channels + target, h, w).
        offsets_px: Distance of each channel from the segmented slice, in pixels.
        air: Normalised value of the cavity.
        rng: Source of the wall's thickness.
    """
    depth = torch.from_numpy(ndimage.distance_transform_edt(stack[-1].numpy() >= 0.5)).float()
    wall = _LEAST_WALL_PX + rng.uniform(0, 0.5) * float(depth.max())
    distance = torch.tensor(offsets_px).abs()[:, None, None]
    share = (depth - wall - distance / 2).clamp(0, 1)
    stack[:-1] += share * (air - stack[:-1])


def soft_square(height: int, width: int) -> torch.Tensor:
    """Return blending weights of a square that rise to 1 from its border inwards."""
    sides = []
    for length in (height, width):
        along = torch.arange(length, dtype=torch.float32)
        sides.append(torch.minimum(along + 0.5, length - along - 0.5))
    return torch.minimum(sides[0][:, None], sides[1][None]).div(_FEATHER_PX).clamp(max=1)


def soft_disc(height: int, width: int) -> torch.Tensor:
    """Return blending weights of a disc that rise to 1 from its border inwards."""
    rows, columns = (torch.arange(n) - (n - 1) / 2 for n in (height, width))
    radius = torch.hypot(rows[:, None], columns[None])
    return ((min(height, width) / 2 - radius) / _FEATHER_PX).clamp(0, 1)


def halo(label: torch.Tensor) -> torch.Tensor:
    """Return blending weights of 1 on and next to the nodule, falling to 0 over the halo; 0 without a nodule."""
    if not label.any():
        return torch.zeros_like(label)
    distance = torch.from_numpy(ndimage.distance_transform_edt(label.numpy() == 0)).float()
    return ((_HALO_PX + _FEATHER_PX - distance) / _FEATHER_PX).clamp(0, 1)
