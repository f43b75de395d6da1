"""Learning curves of the strategies: mean and spread over seeds, and paired comparison with random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

BASELINE = "random"

_PARTS = 100  # of the axis of effort

History = Sequence[Mapping[str, Any]]
Runs = Mapping[str, Mapping[int, History]]


def compare(runs: Runs, opening: float) -> dict[str, dict[str, Any]]:
    """Return the curve of each strategy, and its gain over random.

    The gain of a seed is the difference of two runs with the same pool, initial labels and weak model. Its confidence
    interval (Student's t) is over seeds and does not generalize to other data.

    Args:
        runs: Result of `replay` by strategy and seed.
        opening: Effort of opening a case, in strokes.

    Returns:
        By strategy: ``labels``, ``dice`` (mean over seeds) and ``spread`` (standard deviation) after each round;
        ``strokes_per_case``; ``effort``, in strokes since the start and up to what every seed has spent, and
        ``dice_over_effort`` there. For all but random, ``mean_gain`` (Dice averaged over the rounds), ``last_gain``
        (after the last one) and ``effort_gain`` (Dice averaged over the effort that both runs of a seed have spent),
        each with ``value``, ``interval_95`` (None for a single seed) and ``seeds``, the gain of each.
    """
    curves: dict[str, dict[str, Any]] = {}
    for strategy, seeds in runs.items():
        dice = _dice(seeds.values())
        first = next(iter(seeds.values()))
        axis = np.linspace(0, min(_effort(history, opening)[-1] for history in seeds.values()), 1 + _PARTS)
        over_effort = np.array([dice_at(axis, history, opening) for history in seeds.values()])
        curves[strategy] = {
            "labels": [entry["labels"] for entry in first],
            "dice": dice.mean(0).round(4).tolist(),
            "spread": (dice.std(0, ddof=1) if len(dice) > 1 else 0 * dice[0]).round(4).tolist(),
            "strokes_per_case": round(float(np.mean([_strokes_per_case(history) for history in seeds.values()])), 2),
            "effort": axis.round(1).tolist(),
            "dice_over_effort": over_effort.mean(0).round(4).tolist(),
        }
        shared = sorted(set(seeds) & set(runs.get(BASELINE, {})))
        if strategy != BASELINE and shared:
            pairs = [(seeds[seed], runs[BASELINE][seed]) for seed in shared]
            gains = _dice(own for own, _ in pairs) - _dice(random for _, random in pairs)
            curves[strategy]["mean_gain"] = _gain(gains[:, 1:].mean(1))
            curves[strategy]["last_gain"] = _gain(gains[:, -1])
            curves[strategy]["effort_gain"] = _gain(np.array([_effort_gain(*pair, opening) for pair in pairs]))
    return curves


def beats_random(curve: Mapping[str, Any]) -> bool:
    """Return whether the whole interval of the gain over effort is above 0."""
    interval = curve.get("effort_gain", {}).get("interval_95")
    return interval is not None and interval[0] > 0


def dice_at(effort: np.ndarray, history: History, opening: float) -> np.ndarray:
    """Return the Dice of a run at amounts of effort, interpolated linearly between its rounds.

    Args:
        effort: Effort since the start, in strokes.
        history: Result of `replay`.
        opening: Effort of opening a case, in strokes.
    """
    return np.interp(effort, _effort(history, opening), [entry["dice"] for entry in history])


def _effort(history: History, opening: float) -> np.ndarray:
    """Return the effort spent from the start to the end of each round."""
    return np.cumsum([sum(entry["strokes"]) + opening * len(entry["strokes"]) for entry in history])


def _strokes_per_case(history: History) -> float:
    return float(np.mean([count for entry in history for count in entry["strokes"]]))


def _effort_gain(own: History, random: History, opening: float) -> float:
    """Return by how much the Dice of a run is higher, on average over the effort that both runs have spent."""
    axis = np.linspace(0, min(_effort(history, opening)[-1] for history in (own, random)), 1 + _PARTS)[1:]
    return float((dice_at(axis, own, opening) - dice_at(axis, random, opening)).mean())


def _dice(histories: Any) -> np.ndarray:
    """Return the Dice, shape (seeds, rounds + 1)."""
    return np.array([[entry["dice"] for entry in history] for history in histories])


def _gain(gains: np.ndarray) -> dict[str, Any]:
    interval = None
    if len(gains) > 1:
        reach = stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains)
        interval = [round(float(gains.mean() + side * reach), 4) for side in (-1, 1)]
    return {"value": round(float(gains.mean()), 4), "interval_95": interval, "seeds": gains.round(4).tolist()}
