"""How much a network doubts what it makes of an image: one number, comparable between images."""

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

_FLOOR = 0.05  # what is less probable is no candidate: the lungs' millions of such voxels would drown the lesions
_SMALLEST_MM3 = math.pi / 6 * 4.0**3  # a ball of 4 mm; doubt about less than that counts little
_FLIPPED_AXES = (1, 2)  # the two in the plane of the slices


def probability_maps(measure: str, predict: Predict, volume: torch.Tensor) -> list[torch.Tensor]:
    """What a measure looks at: the probability of tumour, for ``disagreement`` that of the mirror images too.

    Args:
        measure: One of ``MEASURES``.
        predict: From what ``image_transforms`` make, shape (1, X, Y, Z), to the probability of tumour, (X, Y, Z).
        volume: What it is given.

    Returns:
        The maps, all in the orientation of ``volume``, its own first.
    """
    axes = _FLIPPED_AXES if measure == "disagreement" else ()
    return [predict(volume), *(predict(volume.flip(axis)).flip(axis - 1) for axis in axes)]


def doubt(measure: str, maps: Sequence[torch.Tensor], voxel_mm3: float) -> float:
    """The doubt, from 0 (none) to 1.

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
    """One minus the Dice that the network itself expects of its mask, were its probabilities right.

    Measured over the candidates, voxels of 0.05 or more, so that it does not grow with the size of the image or of
    the lesion. An image in which nothing is suspected leaves no doubt.

    Args:
        probability: Of tumour.
        smallest: Voxels of a lesion too small to matter, by which the ratio is smoothed.
    """
    return soft_dice_loss(probability, (probability >= 0.5).float(), smallest)


def mean_entropy(probability: torch.Tensor, smallest: float) -> float:
    """Mean binary entropy in bits over the candidates, voxels of 0.05 or more; arguments as above."""
    p = probability[probability >= _FLOOR].double()
    entropy = torch.special.entr(p) + torch.special.entr(1 - p)
    return float(entropy.sum() / math.log(2) / (len(p) + smallest))


def soft_dice_loss(one: torch.Tensor, other: torch.Tensor, smallest: float) -> float:
    """One minus the Dice of two maps of probability, their candidates only; ``smallest`` as above."""
    one, other = (torch.where(p >= _FLOOR, p, 0).double() for p in (one, other))
    both = 2 * torch.minimum(one, other).sum()
    return float(1 - (both + smallest) / (one.sum() + other.sum() + smallest))
