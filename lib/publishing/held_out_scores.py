"""Scores of weights on the hold-out cases: whole volumes, false positives counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.evaluation.cases import evaluate_case
from lib.inference import ModelDescription, Predictor, WeightsContent, WeightsSource
from lib.inference.finite import NotFiniteError
from lib.publishing.gate import Scores
from lib.publishing.model_store import ModelStore


def score_or_nan(weights: WeightsSource, cases: Sequence[dict[str, Any]], model: ModelDescription) -> Scores:
    """Return the scores as `score` does, or scores that are NaN where the network's output is not finite."""
    try:
        return score(weights, cases, model)
    except NotFiniteError:
        return Scores(math.nan, math.nan, tuple(str(case.get("image_id", case["image"])) for case in cases))


def score(weights: WeightsSource, cases: Sequence[dict[str, Any]], model: ModelDescription) -> Scores:
    """Score weights on cases, with the predictor and the options of the server.

    Args:
        weights: Of the network of ``model``.
        cases: With ``image`` and ``label``, paths on one grid.
        model: The model without its weights.

    Raises:
        NotFiniteError: The network's output is not finite.
        UserError: The weights are damaged or of another network.
    """
    predictor = Predictor(model, weights)
    results = [
        evaluate_case(
            str(case.get("image_id", case["image"])), Path(case["image"]), Path(case["label"]), predictor, False
        )
        for case in cases
    ]
    measured = [result for result, _ in results]
    return Scores.mean(
        [result.name for result in measured],
        [result.counts.dice for result in measured],
        [result.false_positives for result in measured],
    )


def score_serving(
    store: ModelStore, cases: Sequence[dict[str, Any]], model: ModelDescription
) -> tuple[str | None, Scores | None]:
    """Return the version in use and its scores as `score_or_nan` gives them; neither where there is none.

    Args:
        store: Of the versions.
        cases: As for `score`; where there are none, the version has no scores.
        model: The model without its weights.
    """
    version = store.serving_version()
    if version is None or not cases:
        return version, None
    serving, content = store.read_serving()
    return serving.version, score_or_nan(WeightsContent(content, str(serving.version)), cases, model)
