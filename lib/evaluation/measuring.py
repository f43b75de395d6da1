"""Measurement of models on images with masks: their results, and pictures of the worst cases."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
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


def measure_models(
    cases: Sequence[Case],
    predictors: Mapping[str, Predictor],
    *,
    robustness: bool,
    limits: Sequence[float] = (),
) -> tuple[dict[str, list[CaseResult]], list[dict[str, Any]]]:
    """Return the results by model, and the cases to show.

    Args:
        cases: The images.
        predictors: The models by name.
        robustness: See `evaluate_case`.
        limits: See `evaluate_case`.

    Returns:
        The results, and the cases on which the last model is worst, for :func:`lib.evaluation.report.render`.
    """
    results: dict[str, list[CaseResult]] = {name: [] for name in predictors}
    shown: list[dict[str, Any]] = []
    for number, (name, image, mask, patient) in enumerate(cases, start=1):
        masks = {}
        for model, predictor in predictors.items():
            result, masks[model] = evaluate_case(name, image, mask, patient, predictor, robustness, limits)
            results[model].append(result)
        dice = {model: found[-1].counts.dice for model, found in results.items()}
        shown = _worst([*shown, {"name": name, "dice": dice, "strip": _strip(image, mask, masks)}])
        logger.info("%d of %d: %s %s", number, len(cases), name, {model: round(d, 3) for model, d in dice.items()})
    return results, shown


def _strip(image: Path, mask: Path, found: Mapping[str, np.ndarray]) -> str:
    """Return slices with the outlines, in radiological orientation, as HTML."""
    load, turn = LoadImage(image_only=True, ensure_channel_first=True), Orientation(axcodes="LPS", labels=None)
    volume = load(image)
    masks = [
        MetaTensor(torch.from_numpy(voxels[None]), affine=volume.affine)
        for voxels in (read_truth(image, mask).mask, *found.values())
    ]
    volume, truth, *others = (np.asarray(turn(item)[0]) for item in (volume, *masks))
    x, y, z = (float(length) for length in cast(MetaTensor, turn(load(image))).pixdim)
    return slice_strip(volume, truth, dict(zip(found, others, strict=True)), (x, y, z))


def _worst(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the cases to show, in ascending order of the Dice of the last model."""
    return sorted(cases, key=lambda case: list(case["dice"].values())[-1])[:_SHOWN_CASES]
