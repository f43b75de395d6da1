"""The uncertainty of a network about an image: one number, comparable between images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

Predict = Callable[[torch.Tensor], torch.Tensor]

MEASURES = {
    "uncertainty": "the Dice that the model expects of its own mask is lowest",
    "entropy": "the model's probabilities in candidate lesions are nearest to 0.5",
    "disagreement": "the model's masks of the image and of its mirror images differ most",
}

_FLOOR = 0.05  # less probable voxels are left out: the lungs' millions of them would outweigh the lesions
_SMALLEST_MM3 = math.pi / 6 * 4.0**3  # a ball of 4 mm; uncertainty about less than that counts little
_FLIPPED_AXES = (1, 2)  # the two in the plane of the slices


def probability_maps(measure: str, predict: Predict, volume: torch.Tensor) -> list[torch.Tensor]:
    """Return what a measure looks at: the probability of tumour, for ``disagreement`` also that of mirror images.

    Args:
        measure: One of ``MEASURES``.
        predict: Returns the probability of tumour, (X, Y, Z), of a volume.
        volume: What the network sees, shape (C, X, Y, Z).

    Returns:
        The maps, all in the orientation of ``volume``, its own first.
    """
    axes = _FLIPPED_AXES if measure == "disagreement" else ()
    return [predict(volume), *(predict(volume.flip(axis)).flip(axis - 1) for axis in axes)]


def uncertainty(measure: str, maps: Sequence[torch.Tensor], voxel_mm3: float) -> float:
    """Return the uncertainty, from 0 (none) to 1.

    Args:
        measure: One of ``MEASURES``.
        maps: What `probability_maps` returns.
        voxel_mm3: Volume of a voxel.
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
    raise ValueError(f"There is no measure {measure!r}; there is {', '.join(MEASURES)}.")


def expected_dice_loss(probability: torch.Tensor, smallest: float) -> float:
    """Return one minus the Dice that is to be expected of the mask if the probabilities are calibrated.

    Measured over the voxels of 0.05 or more, so that it does not grow with the size of the image or of the lesion.
    Without such voxels it is 0.

    Args:
        probability: Of tumour.
        smallest: Voxels of a lesion too small to matter, by which the ratio is smoothed.
    """
    return soft_dice_loss(probability, (probability >= 0.5).float(), smallest)


def mean_entropy(probability: torch.Tensor, smallest: float) -> float:
    """Return the mean binary entropy in bits over the voxels of 0.05 or more; arguments as above."""
    p = probability[probability >= _FLOOR].double()
    entropy = torch.special.entr(p) + torch.special.entr(1 - p)
    return float(entropy.sum() / math.log(2) / (len(p) + smallest))


def soft_dice_loss(one: torch.Tensor, other: torch.Tensor, smallest: float) -> float:
    """Return one minus the Dice of two probability maps, over their voxels of 0.05 or more; ``smallest`` as above."""
    one, other = (torch.where(p >= _FLOOR, p, 0).double() for p in (one, other))
    both = 2 * torch.minimum(one, other).sum()
    return float(1 - (both + smallest) / (one.sum() + other.sum() + smallest))
