"""Learning curves of the strategies: mean and spread over seeds, and paired comparison with random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

BASELINE = "random"

Runs = Mapping[str, Mapping[int, Sequence[Mapping[str, Any]]]]


def compare(runs: Runs) -> dict[str, dict[str, Any]]:
    """Return the curve of each strategy, and its gain over random.

    The gain of a seed is the difference of two runs with the same pool, initial labels and weak model. Its confidence
    interval (Student's t) is over seeds and does not generalize to other data.

    Args:
        runs: Result of `replay` by strategy and seed.

    Returns:
        By strategy: ``labels``, ``dice`` (mean over seeds) and ``spread`` (standard deviation) after each round; for
        all but random, ``mean_gain`` (Dice averaged over the rounds) and ``last_gain`` (after the last one), each with
        ``value``, ``interval_95`` (None for a single seed) and ``seeds``, the gain of each.
    """
    curves: dict[str, dict[str, Any]] = {}
    for strategy, seeds in runs.items():
        dice = _dice(seeds.values())
        first = next(iter(seeds.values()))
        curves[strategy] = {
            "labels": [entry["labels"] for entry in first],
            "dice": dice.mean(0).round(4).tolist(),
            "spread": (dice.std(0, ddof=1) if len(dice) > 1 else 0 * dice[0]).round(4).tolist(),
        }
        shared = sorted(set(seeds) & set(runs.get(BASELINE, {})))
        if strategy != BASELINE and shared:
            gains = _dice(seeds[seed] for seed in shared) - _dice(runs[BASELINE][seed] for seed in shared)
            curves[strategy]["mean_gain"] = _gain(gains[:, 1:].mean(1))
            curves[strategy]["last_gain"] = _gain(gains[:, -1])
    return curves


def beats_random(curve: Mapping[str, Any]) -> bool:
    """Return whether the whole interval of the mean gain is above 0."""
    interval = curve.get("mean_gain", {}).get("interval_95")
    return interval is not None and interval[0] > 0


def _dice(histories: Any) -> np.ndarray:
    """Return the Dice, shape (seeds, rounds + 1)."""
    return np.array([[entry["dice"] for entry in history] for history in histories])


def _gain(gains: np.ndarray) -> dict[str, Any]:
    interval = None
    if len(gains) > 1:
        reach = stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains)
        interval = [round(float(gains.mean() + side * reach), 4) for side in (-1, 1)]
    return {"value": round(float(gains.mean()), 4), "interval_95": interval, "seeds": gains.round(4).tolist()}
