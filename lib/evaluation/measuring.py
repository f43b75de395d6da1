"""Measurement of models on images with masks: their results, and pictures of the worst cases."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage, Orientation

from lib.evaluation.cases import CaseResult, evaluate_case
from lib.evaluation.figures import slice_strip
from lib.evaluation.truth import read_truth
from lib.inference import Predictor

logger = logging.getLogger(__name__)

Case = tuple[str, Path, Path, str]
"""Name, image, mask and patient, as `evaluate_case` takes them."""

_SHOWN_CASES = 24


@dataclass(frozen=True)
class MeasuredCase:
    """What was measured on one image.

    Attributes:
        results: By model.
        strip: Slices with the outlines, as HTML.
    """

    results: dict[str, CaseResult]
    strip: str


Measured = tuple[dict[str, list[CaseResult]], list[dict[str, Any]]]


def measure_models(cases: Sequence[Case], predictors: Mapping[str, Predictor], *, robustness: bool) -> Measured:
    """Return the results by model, and the cases to show; see `measure_case` and `collect`."""
    return collect(cases, ((case, measure_case(case, predictors, robustness=robustness)) for case in cases))


def measure_case(
    case: Case, predictors: Mapping[str, Predictor], *, robustness: bool, limits: Sequence[float] = ()
) -> MeasuredCase:
    """Measure all models on one image.

    Args:
        case: The image.
        predictors: The models by name.
        robustness: See `evaluate_case`.
        limits: See `evaluate_case`.
    """
    name, image, mask, patient = case
    results, masks = {}, {}
    for model, predictor in predictors.items():
        results[model], masks[model] = evaluate_case(name, image, mask, patient, predictor, robustness, limits)
    return MeasuredCase(results, _strip(image, mask, masks))


def collect(cases: Sequence[Case], measured: Iterable[tuple[Case, MeasuredCase]]) -> Measured:
    """Return the results by model in the order of the cases, and the cases to show.

    Args:
        cases: All images.
        measured: Each of them once, in any order.

    Returns:
        The results, and the cases on which the last model is worst, for :func:`lib.evaluation.report.render`.
    """
    places = {case[:3]: place for place, case in enumerate(cases)}
    found: dict[int, dict[str, CaseResult]] = {}
    worst: list[tuple[float, int, dict[str, Any]]] = []
    for number, (case, one) in enumerate(measured, start=1):
        place, name = places[case[:3]], case[0]
        found[place] = one.results
        dice = {model: result.counts.dice for model, result in one.results.items()}
        shown = {"name": name, "dice": dice, "strip": one.strip}
        worst = sorted([*worst, ([*dice.values()][-1], place, shown)], key=lambda entry: entry[:2])[:_SHOWN_CASES]
        logger.info("%d of %d: %s %s", number, len(cases), name, {model: round(d, 3) for model, d in dice.items()})
    results = {model: [found[place][model] for place in sorted(found)] for model in next(iter(found.values()), {})}
    return results, [shown for _, _, shown in worst]


def oriented(
    image: Path, mask: Path, found: Iterable[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray], tuple[float, float, float]]:
    """Return HU, masks and spacing in mm in radiological orientation: (X, Y, Z), axes L, P, S.

    Args:
        image: Volume.
        mask: Its ground truth; see `read_truth`. It becomes the first of the masks.
        found: More masks, (X, Y, Z) as in the file.
    """
    load, turn = LoadImage(image_only=True, ensure_channel_first=True), Orientation(axcodes="LPS", labels=None)
    volume = load(image)
    masks = [
        MetaTensor(torch.from_numpy(voxels[None]), affine=volume.affine)
        for voxels in (read_truth(image, mask).mask, *found)
    ]
    turned = cast(MetaTensor, turn(volume))
    x, y, z = (float(length) for length in turned.pixdim)
    return np.asarray(turned[0]), [np.asarray(turn(one)[0]) for one in masks], (x, y, z)


def _strip(image: Path, mask: Path, found: Mapping[str, np.ndarray]) -> str:
    """Return slices with the outlines, in radiological orientation, as HTML."""
    hu, (truth, *others), spacing = oriented(image, mask, found.values())
    return slice_strip(hu, truth, dict(zip(found, others, strict=True)), spacing)
