"""Scores of weights on the whole volumes of the hold-out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.evaluation.cases import CaseResult, evaluate_case
from lib.inference import ModelDescription, Predictor, WeightsContent, WeightsSource
from lib.inference.finite import NotFiniteError
from lib.publishing.gate import Scores
from lib.publishing.hold_out import patient_of
from lib.publishing.model_store import ModelStore


def score_or_nan(weights: WeightsSource, cases: Sequence[dict[str, Any]], model: ModelDescription) -> Scores:
    """Return the result of `score`, or NaN scores if the output of the network is not finite."""
    try:
        return score(weights, cases, model)
    except NotFiniteError:
        return Scores(math.nan, math.nan, tuple(str(case.get("image_id", case["image"])) for case in cases))


def score(weights: WeightsSource, cases: Sequence[dict[str, Any]], model: ModelDescription) -> Scores:
    """Score weights on cases with the same predictor and options as the server.

    Args:
        weights: Source of the weights.
        cases: Cases with the paths ``image`` and ``label`` on one grid.
        model: The model without its weights.

    Raises:
        NotFiniteError: The output of the network is not finite.
        UserError: The weights are damaged or do not match the network.
    """
    predictor = Predictor(model, weights)
    measured = [_score_case(case, predictor) for case in cases]
    return Scores.mean(
        [result.name for result in measured],
        [result.counts.dice for result in measured],
        [result.false_positives for result in measured],
    )


def _score_case(case: dict[str, Any], predictor: Predictor) -> CaseResult:
    name = str(case.get("image_id", case["image"]))
    image, label = Path(case["image"]), Path(case["label"])
    result, _ = evaluate_case(name, image, label, str(patient_of(case)), predictor, False)
    return result


def score_serving(
    store: ModelStore, cases: Sequence[dict[str, Any]], model: ModelDescription
) -> tuple[str | None, Scores | None]:
    """Return the version in use and its scores; None for the scores without cases, and for both without a version.

    Args:
        store: Store of the versions.
        cases: See `score`.
        model: The model without its weights.
    """
    version = store.serving_version()
    if version is None or not cases:
        return version, None
    serving, content = store.read_serving()
    return serving.version, score_or_nan(WeightsContent(content, str(serving.version)), cases, model)
