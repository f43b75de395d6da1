"""Measures of a network's uncertainty about an image, comparable between images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy import ndimage

from lib.geometry.connected_components import connected_components

Predict = Callable[[torch.Tensor], torch.Tensor]

MEASURES = {
    "uncertainty": "the Dice that the model expects of its own mask is lowest",
    "entropy": "the model's probabilities in candidate lesions are nearest to 0.5",
    "disagreement": "the model's masks of the image and of its mirror images differ most",
    "lesion": "the model's probabilities in one candidate lesion are nearest to 0.5",
    "tumour_entropy": "the model's probabilities in its mask are nearest to 0.5",
    "background_entropy": "the model's probabilities beside its mask are nearest to 0.5",
    "marked": "the model marks something",
}

_FLOOR = 0.05  # voxels below are ignored: the millions of them in the lungs would outweigh the lesions
_THRESHOLD = 0.5
_SMALLEST_MM3 = math.pi / 6 * 4.0**3  # sphere of 4 mm diameter; smaller uncertain volumes count little
_FLIPPED_AXES = (1, 2)  # in the plane of the slices


def probability_maps(measure: str, predict: Predict, volume: torch.Tensor) -> list[torch.Tensor]:
    """Return the probability maps that a measure needs: of the volume, and for ``disagreement`` of its mirror images.

    Args:
        measure: One of ``MEASURES``.
        predict: Returns the probability of tumour, (X, Y, Z), of a volume.
        volume: Input of the network, shape (C, X, Y, Z).

    Returns:
        The maps in the orientation of ``volume``, the one of the unmirrored volume first.
    """
    axes = _FLIPPED_AXES if measure == "disagreement" else ()
    return [predict(volume), *(predict(volume.flip(axis)).flip(axis - 1) for axis in axes)]


def uncertainty(measure: str, maps: Sequence[torch.Tensor], voxel_mm3: float) -> float:
    """Return the uncertainty in [0, 1].

    Args:
        measure: One of ``MEASURES``.
        maps: Return value of `probability_maps`.
        voxel_mm3: Volume of a voxel in mm³.
    """
    found, *mirrored = maps
    smallest = _SMALLEST_MM3 / voxel_mm3
    match measure:
        case "uncertainty":
            return expected_dice_loss(found, smallest)
        case "entropy":
            return mean_entropy(found, smallest)
        case "disagreement":
            return sum(soft_dice_loss(found, other, smallest) for other in mirrored) / len(mirrored)
        case "lesion":
            return highest_lesion_entropy(found, smallest)
        case "tumour_entropy":
            return mean_entropy(found, smallest, least=_THRESHOLD)
        case "background_entropy":
            return mean_entropy(found, smallest, below=_THRESHOLD)
        case "marked":
            return min(int((found >= _THRESHOLD).sum()) / smallest, 1.0)
    raise ValueError(f"There is no measure {measure!r}; there is {', '.join(MEASURES)}.")


def expected_dice_loss(probability: torch.Tensor, smallest: float) -> float:
    """Return one minus the expected Dice coefficient of the mask, assuming calibrated probabilities.

    Only voxels with a probability of at least 0.05 count, so that the result does not grow with the size of the image
    or the lesion. Without such voxels it is 0.

    Args:
        probability: Probability of tumour.
        smallest: Smoothing of the ratio: number of voxels of a lesion too small to matter.
    """
    return soft_dice_loss(probability, (probability >= _THRESHOLD).float(), smallest)


def mean_entropy(
    probability: torch.Tensor, smallest: float, *, least: float = _FLOOR, below: float = math.inf
) -> float:
    """Return the mean binary entropy in bits.

    Args:
        probability: Probability of tumour.
        smallest: See `expected_dice_loss`.
        least: Lowest probability of the voxels that count.
        below: All voxels that count have a lower probability.
    """
    p = probability[(probability >= least) & (probability < below)].double()
    entropy = torch.special.entr(p) + torch.special.entr(1 - p)
    return float(entropy.sum() / math.log(2) / (len(p) + smallest))


def highest_lesion_entropy(probability: torch.Tensor, smallest: float) -> float:
    """Return the highest `mean_entropy` of a candidate lesion, a connected component of voxels of at least 0.05."""
    candidates, _ = connected_components(np.asarray(probability >= _FLOOR))
    boxes = ndimage.find_objects(candidates)
    lesions = (probability[box][torch.from_numpy(candidates[box] == number)] for number, box in enumerate(boxes, 1))
    return max((mean_entropy(lesion, smallest) for lesion in lesions), default=0.0)


def soft_dice_loss(one: torch.Tensor, other: torch.Tensor, smallest: float) -> float:
    """Return one minus the soft Dice of two probability maps over voxels of at least 0.05 in either."""
    one, other = (torch.where(p >= _FLOOR, p, 0).double() for p in (one, other))
    both = 2 * torch.minimum(one, other).sum()
    return float(1 - (both + smallest) / (one.sum() + other.sum() + smallest))
