"""How good weights are on held-out cases: whole volumes, false positives counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.evaluation.cases import evaluate_case
from lib.evaluation.prediction import Predictor
from lib.networks.weights import NotFiniteError
from lib.publishing.gate import Scores


def score_kept(weights: Path, cases: Sequence[dict[str, Any]], info: dict[str, Any]) -> Scores:
    """As `score`, but where the network gives no numbers, the scores are none either, for the gate to judge."""
    try:
        return score(weights, cases, info)
    except NotFiniteError:
        return Scores(math.nan, math.nan, tuple(str(case.get("image_id", case["image"])) for case in cases))


def score(weights: Path, cases: Sequence[dict[str, Any]], info: dict[str, Any]) -> Scores:
    """Score weights on cases, by the very transforms of inference.

    Args:
        weights: File with a ``state_dict``.
        cases: With ``image`` and ``label``, paths on one grid.
        info: ``info.yaml``.

    Raises:
        NotFiniteError: The network gives no numbers.
    """
    predictor = Predictor(weights, info)
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
