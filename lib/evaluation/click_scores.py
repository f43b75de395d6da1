"""Scores of the model for clicks on the patients of a hold-out: Dice after one and three simulated clicks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lib.clicks.lesion_image import LesionImage
from lib.clicks.predictor import ClickPredictor
from lib.evaluation.click_curve import click_through, lesion_regions
from lib.evaluation.metrics import HIT_IOU
from lib.inference.finite import NotFiniteError

_CLICKS = 3
_PLACES = 3  # sessions of clicks on each lesion, at different places
_SMALLEST_VOXELS = 3  # smaller components of a label are crumbs of painting
_MOST_LESIONS = 20  # of an image, the largest ones


@dataclass(frozen=True)
class ClickScores:
    """Scores of a model on the lesions of one patient, means over lesions and places of the clicks.

    Attributes:
        lesions: Number of lesions.
        outlined: How many of them have an IoU of at least 0.3 after one click, in the mean over the places.
        after_one: Dice after one click; NaN if the output of the model is not finite.
        after_three: Dice after three clicks.
    """

    lesions: int
    outlined: int
    after_one: float
    after_three: float

    @property
    def dice(self) -> float:
        """Mean of the Dice after one and after three clicks: the score that versions are compared by."""
        return (self.after_one + self.after_three) / 2


def score_clicks(predictor: ClickPredictor, images: Iterable[LesionImage]) -> dict[str, ClickScores]:
    """Return the scores of a model by patient; patients without a lesion have none.

    The places of the clicks are random but the same in each call, so that two models are measured by the same user.

    Args:
        predictor: The model.
        images: Images with outlines; read one after another.

    Raises:
        UserError: There are no weights, or they do not match the network.
    """
    dice: dict[str, list[np.ndarray]] = defaultdict(list)
    for image in images:
        regions = [region for region in lesion_regions(image) if region.mask.sum() >= _SMALLEST_VOXELS]
        regions.sort(key=lambda region: -int(region.mask.sum()))
        for region in regions[:_MOST_LESIONS]:
            try:
                places = [click_through(predictor, image, region, _CLICKS, seed=seed).dice for seed in range(_PLACES)]
            except NotFiniteError:
                places = [[math.nan] * _CLICKS]
            dice[image.patient].append(np.mean(places, axis=0))
    return {patient: _scores(np.array(lesions)) for patient, lesions in dice.items()}


def _scores(dice: np.ndarray) -> ClickScores:
    """Return the scores of a patient from the Dice of each lesion after each click, shape (lesions, clicks)."""
    first, *_, last = dice.mean(0).tolist()
    hit = 2 * HIT_IOU / (1 + HIT_IOU)
    return ClickScores(len(dice), int((dice[:, 0] >= hit).sum()), first, last)
