"""What a user has to do to turn a model's mask into the true one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

_STROKE_MM = 2.5
_IN_PLANE = np.zeros((3, 3, 3), bool)
_IN_PLANE[:, :, 1] = True


def strokes(found: np.ndarray, truth: np.ndarray, pixel_mm: float) -> int:
    """Return the number of strokes of a brush or an eraser that turn one mask into another.

    One stroke corrects one connected region of an axial slice. What is narrower than 2.5 mm is left as it is: readers
    differ by as much. The user may also clear the mask, which counts as one stroke, and draw everything.

    Args:
        found: Mask of the model, shape (X, Y, Z).
        truth: Mask wanted, same shape.
        pixel_mm: Side of the square pixels in the slices.
    """
    drawn = _regions(truth, pixel_mm)
    if not found.any():
        return drawn
    corrected = _regions(truth & ~found, pixel_mm) + _regions(found & ~truth, pixel_mm)
    return min(corrected, 1 + drawn)


def clicks_until_goal(metrics: Path) -> dict[str, int | None]:
    """Return the clicks that outline all lesions of each image, by its name; None if some are never good enough.

    Args:
        metrics: ``metrics.json`` of ``evaluate --clicks``, of one model.
    """
    content = json.loads(metrics.read_text(encoding="utf-8"))
    ((model, lesions),) = content["cases"].items()
    goal = content["models"][model]["goal"]
    clicks: dict[str, int | None] = {}
    for lesion in lesions:
        own = next((count for count, dice in enumerate(lesion["dice"], 1) if dice >= goal), None)
        before = clicks.get(lesion["name"], 0)
        clicks[lesion["name"]] = None if own is None or before is None else before + own
    return clicks


def strokes_or_clicks(entry: Mapping[str, Any], clicks: Mapping[str, int | None]) -> dict[str, Any]:
    """Return a round of a replay, in which a case costs its clicks where these suffice and are fewer than its strokes.

    Args:
        entry: The round: ``picked`` and ``strokes`` of each case.
        clicks: Result of `clicks_until_goal`.

    Raises:
        KeyError: The clicks of a case are unknown.
    """
    pairs = zip(entry["picked"], entry["strokes"], strict=True) if entry["strokes"] else ()
    return {**entry, "strokes": [_fewer(count, clicks[name]) for name, count in pairs]}


def _fewer(strokes: int, clicks: int | None) -> int:
    return strokes if clicks is None else min(strokes, clicks)


def _regions(wrong: np.ndarray, pixel_mm: float) -> int:
    """Return the number of regions of axial slices that are at least as wide as a stroke."""
    width = max(round(_STROKE_MM / pixel_mm), 1)
    wide = ndimage.binary_opening(wrong, np.ones((width, width, 1), bool))
    return int(ndimage.label(wide, _IN_PLANE)[1])
