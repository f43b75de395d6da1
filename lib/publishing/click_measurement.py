"""Scores of versions of the model for clicks on patients: Dice after one and after three simulated clicks."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from lib.clicks.lesion_image import LesionImage, open_lesion_image
from lib.clicks.model import ClickModel
from lib.clicks.predictor import ClickPredictor
from lib.clicks.region import Region
from lib.errors import UserError
from lib.evaluation.click_curve import ClickedLesion, click_through, clickable, lesion_regions
from lib.evaluation.metrics import HIT_IOU, iou_of
from lib.inference import WeightsSource
from lib.inference.finite import NotFiniteError
from lib.publishing.folds import patient_of
from lib.publishing.gate import PatientScores, Verdict
from lib.publishing.measurement import Cases, Elsewhere, measure_patients

logger = logging.getLogger(__name__)

_CLICKS = 3
_PLACES = 3  # sessions of clicks on each lesion, at different places
_MOST_LESIONS = 20  # of a patient, the largest ones


@dataclass(frozen=True)
class ClickScores(PatientScores):
    """Scores of a model for clicks on the lesions of a patient, for the gate.

    ``dice`` is the mean of those after one and after three clicks; ``found`` are the lesions outlined after one click.
    There are no false findings, because the model only outlines what a user points at.

    Attributes:
        after_one: Dice after one click, mean over lesions and places of the clicks.
        after_three: Dice after three clicks.
    """

    after_one: float
    after_three: float


def measure_clicks(
    weights: Mapping[int, WeightsSource],
    folds: Mapping[str, int],
    cases: Cases,
    model: ClickModel,
    elsewhere: Elsewhere | None = None,
) -> dict[str, ClickScores]:
    """Measure weights by simulated clicks, at the same places in each call.

    Args:
        weights: Weights of each fold.
        folds: Folds of the patients to measure on.
        cases: Cases with the paths ``image`` and ``label`` on one grid; those of patients without a fold are left out.
        model: The model without its weights.
        elsewhere: Where to measure while it is there; the scores are the same.

    Returns:
        Scores by patient, NaN if the output of the network is not finite; patients without a lesion have none.

    Raises:
        UserError: The weights are damaged or do not match the network.
    """
    scores = measure_patients(_score_patient, partial(ClickPredictor, model), weights, cases, folds, elsewhere)
    return {patient: one for patient, one in scores.items() if one is not None}


def _score_patient(cases: Cases, predictor: ClickPredictor) -> ClickScores | None:
    return score_clicks(predictor, opened(cases))


def score_clicks(predictor: ClickPredictor, images: Iterable[LesionImage]) -> ClickScores | None:
    """Return the scores of a model on the lesions of a patient; None without a lesion.

    Args:
        predictor: The model.
        images: Images of the patient; read one after another.
    """
    scans, results = 0, []
    for image in images:
        scans += 1
        for region in _largest(lesion_regions(image)):
            try:
                results.append([click_through(predictor, image, region, _CLICKS, seed=seed) for seed in range(_PLACES)])
            except NotFiniteError:
                return ClickScores(scans, 1, 0, math.nan, 0.0, 0, math.nan, math.nan)
    return _scores(scans, results) if results else None


def opened(cases: Cases) -> Iterator[LesionImage]:
    """Yield the images of labelled cases, with the ``clicks`` of users if given, without those that cannot be read."""
    for case in cases:
        name = str(case.get("image_id", case["image"]))
        try:
            image, label, clicks = Path(case["image"]), Path(case["label"]), case.get("clicks", ())
            yield open_lesion_image(name, patient_of(case), image, label, clicks)
        except (UserError, OSError, RuntimeError) as error:
            logger.warning("Image %s is left out of the training of clicks: %s", name, error)


def with_clicks(verdict: Verdict) -> Verdict:
    """Return a verdict whose reason also has the Dice after one and after three clicks, before and after."""
    if verdict.candidate is None or verdict.published is None:
        return verdict
    before, after = (_means(one.patients.values()) for one in (verdict.published, verdict.candidate))
    text = "Dice after one click {:.3f} → {:.3f}, after three {:.3f} → {:.3f}."
    return replace(verdict, reason=f"{verdict.reason} {text.format(before[0], after[0], before[1], after[1])}")


def _means(patients: Iterable[PatientScores]) -> tuple[float, float]:
    pairs = [(one.after_one, one.after_three) for one in patients if isinstance(one, ClickScores)]
    after_one, after_three = np.mean(pairs, axis=0).tolist()
    return after_one, after_three


def _largest(regions: Sequence[Region]) -> list[Region]:
    return clickable(sorted(regions, key=lambda region: -int(region.mask.sum()))[:_MOST_LESIONS])


def _scores(scans: int, results: Sequence[Sequence[ClickedLesion]]) -> ClickScores:
    """Return the scores of a patient from the sessions of clicks on each lesion."""
    dice = np.array([[session.dice for session in lesion] for lesion in results]).mean(1)  # lesions, clicks
    first, *_, last = dice.mean(0).tolist()
    return ClickScores(
        scans=scans,
        lesions=len(dice),
        found=sum(iou_of(after_one) >= HIT_IOU for after_one in dice[:, 0].tolist()),
        dice=(first + last) / 2,
        false_findings=0.0,
        marked_voxels=sum(int(session.masks[-1].mask.sum()) for lesion in results for session in lesion),
        after_one=first,
        after_three=last,
    )
