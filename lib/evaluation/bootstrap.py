"""Intervals by bootstrap over patients: several images of one patient are not independent."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_RESAMPLES = 1000
MIN_PATIENTS = 5  # the bootstrap over fewer gives intervals that are far too narrow


def patient_resamples(patients: Sequence[str]) -> np.ndarray:
    """Return how often each image is drawn when the patients are drawn with replacement, always the same way.

    Args:
        patients: Patient of each image.

    Returns:
        Counts, shape (1000, images), int; all images of a patient are drawn together.
    """
    names, patient_of_image = np.unique(np.asarray(patients), return_inverse=True)
    draws = np.random.default_rng(0).integers(len(names), size=(_RESAMPLES, len(names)))
    drawn = np.stack([np.bincount(draw, minlength=len(names)) for draw in draws])
    return drawn[:, patient_of_image]


def interval_95(values: Sequence[float] | np.ndarray) -> list[float] | None:
    """Return the 2.5th and the 97.5th percentile of the values of the resamples, or None without values."""
    return np.percentile(values, [2.5, 97.5]).round(4).tolist() if len(values) else None


def without_width_of_zero(measured: dict[str, Any]) -> dict[str, Any]:
    """Return ``mean`` and ``interval_95`` of a measure without an interval of no width.

    All values are the same then, and the interval would claim that nothing else is possible.
    """
    interval = measured.get("interval_95")
    return {**measured, "interval_95": None} if interval and interval[0] == interval[1] else measured


def mean_and_interval(
    values: np.ndarray, inside: np.ndarray, patients: np.ndarray, resamples: np.ndarray
) -> dict[str, Any]:
    """Return ``mean`` and ``interval_95`` of a measure over the images of a class that have it.

    Args:
        values: The measure of each image, NaN where it was not measured.
        inside: Whether each image belongs to the class.
        patients: Patient of each image.
        resamples: Return value of `patient_resamples`.

    Returns:
        None for the mean without images, and for the interval with under 5 patients.
    """
    chosen = inside & ~np.isnan(values)
    if not chosen.any():
        return {"mean": None, "interval_95": None}
    mean = float(values[chosen].mean())
    if len(set(patients[chosen])) < MIN_PATIENTS:
        return {"mean": mean, "interval_95": None}
    drawn = resamples[:, chosen]
    drawn = drawn[drawn.any(axis=1)]
    return {"mean": mean, "interval_95": interval_95(drawn @ values[chosen] / drawn.sum(axis=1))}
