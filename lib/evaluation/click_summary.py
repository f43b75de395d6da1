"""Summary of simulated clicks: the curve of Dice over clicks, by size, texture and plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.evaluation.bootstrap import interval_95, patient_resamples
from lib.evaluation.click_curve import ClickedLesion
from lib.evaluation.metrics import HIT_IOU, SIZES_MM, iou_of, size_title
from lib.evaluation.textures import Texture

GOAL = 0.85


@dataclass(frozen=True)
class LesionResult:
    """All that was measured on one lesion.

    Attributes:
        patient: Its patient.
        any_plane: Clicks in any plane.
        planes: Clicks by plane.
        first_dice: Dice after one click at each of several places.
        seconds: Duration of each outline.
    """

    patient: str
    any_plane: ClickedLesion
    planes: Mapping[str, ClickedLesion]
    first_dice: Sequence[float]
    seconds: Sequence[float]


def summarize_clicks(results: Sequence[LesionResult], textures: Mapping[str, Texture] | None = None) -> dict[str, Any]:
    """Return the measures of one model over all lesions, for metrics.json.

    Args:
        results: Result of each lesion.
        textures: Texture by name of the image, where it is known.
    """
    textures = textures or {}
    rows = [("all", results)]
    rows += [(size_title(low, high), _of_size(results, low, high)) for low, high in SIZES_MM]
    rows += [
        (texture.value, [one for one in results if textures.get(one.any_plane.name) is texture]) for texture in Texture
    ]
    return {
        "lesions": len(results),
        "goal": GOAL,
        "curves": [{"lesions": title, **_curve(part, [one.any_plane for one in part])} for title, part in rows if part],
        "planes": [
            {"lesions": f"all, {plane} clicks", **_curve(results, [one.planes[plane] for one in results])}
            for plane in results[0].planes
        ],
        "outlined_after_one_click": _mean([iou_of(one.any_plane.dice[0]) >= HIT_IOU for one in results]),
        "spread_of_first_click": _mean([float(np.std(one.first_dice)) for one in results if one.first_dice]),
        "seconds": _percentiles([value for one in results for value in one.seconds]),
    }


def _curve(results: Sequence[LesionResult], clicked: Sequence[ClickedLesion]) -> dict[str, Any]:
    """Return number of lesions, mean Dice after each click with intervals, and clicks until the goal."""
    dice = np.array([one.dice for one in clicked])
    drawn = patient_resamples([one.patient for one in results])
    resampled = drawn @ dice / drawn.sum(1, keepdims=True)
    reached = dice >= GOAL
    until = np.where(reached.any(1), reached.argmax(1) + 1, dice.shape[1] + 1)
    return {
        "n": len(results),
        "dice": dice.mean(0).round(4).tolist(),
        "interval_95": [interval_95(column) for column in resampled.T],
        "clicks_until_goal": float(until.mean()),
        "reached_goal": float(reached.any(1).mean()),
    }


def _of_size(results: Sequence[LesionResult], low: float, high: float) -> list[LesionResult]:
    return [one for one in results if low <= one.any_plane.diameter_mm < high]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": float(np.median(seconds)), "percentile_95": float(np.percentile(seconds, 95))}
