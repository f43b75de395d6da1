"""Bland-Altman analysis of the volumes that two readers measured in the same lesions (Bland and Altman 1986, 1999)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.evaluation.bootstrap import MIN_PATIENTS, interval_95, patient_resamples

_LIMITS = 1.96  # standard deviations that hold 95 % of normally distributed differences
_MIN_LESIONS = 3


@dataclass(frozen=True)
class Difference:
    """Differences of two readers: bias, and limits of agreement, which hold 95 % of the differences.

    Attributes:
        bias: Mean difference.
        low: Lower limit of agreement.
        high: Upper limit of agreement.
        intervals: 95 % interval by bootstrap over patients of each of the three; None with under 5 patients.
    """

    bias: float
    low: float
    high: float
    intervals: dict[str, list[float]] | None


@dataclass(frozen=True)
class BlandAltman:
    """Volumes of two readers compared.

    Attributes:
        lesions: Number of lesions that both measured.
        patients: Number of their patients.
        mm3: Differences in mm³, first reader minus second.
        percent: The same in percent of the mean of the two volumes: small and large lesions count alike.
        slope: Slope of the differences in mm³ over the means: proportional bias, 0 if there is none.
    """

    lesions: int
    patients: int
    mm3: Difference
    percent: Difference
    slope: float | None


def bland_altman(first: Sequence[float], second: Sequence[float], patients: Sequence[str]) -> BlandAltman | None:
    """Compare the volumes of the same lesions by two readers; None with fewer than three lesions.

    Args:
        first: Volumes by one reader in mm³, all above 0.
        second: Volumes of the same lesions by the other reader.
        patients: Patient of each lesion.
    """
    if len(first) < _MIN_LESIONS:
        return None
    one, other = np.asarray(first, float), np.asarray(second, float)
    difference, mean = one - other, (one + other) / 2
    resamples = patient_resamples(patients) if len(set(patients)) >= MIN_PATIENTS else None
    return BlandAltman(
        lesions=len(one),
        patients=len(set(patients)),
        mm3=_difference(difference, resamples),
        percent=_difference(100 * difference / mean, resamples),
        slope=float(np.polyfit(mean, difference, 1)[0]) if np.ptp(mean) > 0 else None,
    )


def _difference(values: np.ndarray, resamples: np.ndarray | None) -> Difference:
    bias, low, high = _limits(values, np.ones((1, len(values))))[0]
    intervals = None
    if resamples is not None:
        drawn = _limits(values, resamples)
        names = ("bias", "low", "high")
        found = [interval_95(drawn[:, number]) for number in range(len(names))]
        intervals = {name: one for name, one in zip(names, found, strict=True) if one is not None}
    return Difference(float(bias), float(low), float(high), intervals)


def _limits(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return bias and limits of agreement of each resample, shape (resamples, 3)."""
    lesions = counts.sum(axis=1)
    bias = counts @ values / lesions
    squares = counts @ values**2 - lesions * bias**2
    deviation = np.sqrt(np.maximum(squares, 0) / np.maximum(lesions - 1, 1))
    return np.stack([bias, bias - _LIMITS * deviation, bias + _LIMITS * deviation], axis=1)
