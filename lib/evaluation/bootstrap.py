"""Intervals by bootstrap over patients: several images of one patient are not independent."""

from collections.abc import Sequence

import numpy as np

_RESAMPLES = 1000


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
