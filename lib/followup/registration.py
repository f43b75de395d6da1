"""Rigid registration of two chest CTs of a patient, by SimpleITK."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lib.followup.coarse_image import CoarseImage, middle_of

# Correlation below which a registration is refused. Measured in the lungs and around them: 0.98 or more for a scan and
# a moved copy of it (also with another kernel), 0.72 or less for scans of two patients.
LOWEST_CORRELATION = 0.8
LOWEST_COVERED = 0.5  # share of the lungs of the current series that the other one has to show

_OUTSIDE = -3000.0  # HU of what the other series does not show; below all others
_SEARCH_MM = ((-32.0, 0.0, 32.0), (-32.0, 0.0, 32.0), (-64.0, -32.0, 0.0, 32.0, 64.0))  # beside each start position
_SEARCH_SHRINK = 4
_LEVELS = (4, 2, 1)  # of resolution, as factors of the coarse image
_SAMPLED = (1.0, 0.5, 0.25)  # shares of the voxels at each level
_FIRST_STEP_MM, _LAST_STEP_MM = 2.0, 0.01
_ITERATIONS = 100


@dataclass(frozen=True)
class Registration:
    """How a point of the current series is found in another one.

    Attributes:
        matrix: 4×4, from LPS mm of the current series to LPS mm of the other.
        correlation: Of the densities in and around the lungs, after registration; 1 is perfect.
        covered: Share of the lungs of the current series, with their surroundings, that the other one shows.
    """

    matrix: np.ndarray
    correlation: float
    covered: float

    @property
    def problem(self) -> str | None:
        """Why it must not be used, a sentence; None if it is good."""
        if self.covered < LOWEST_COVERED:
            return f"The other study shows only {self.covered:.0%} of the lungs of this one: they cannot be registered."
        if self.correlation < LOWEST_CORRELATION:
            return (
                f"The two studies do not match after registration (correlation {self.correlation:.2f}; at least "
                f"{LOWEST_CORRELATION} is needed). Breathing, surgery or the position of the patient may differ too "
                "much."
            )
        return None

    def to_other(self, points: np.ndarray) -> np.ndarray:
        """Return where points (n, 3) of the current series are in the other one, LPS mm."""
        return points @ self.matrix[:3, :3].T + self.matrix[:3, 3]


def register(current: Path, other: Path) -> Registration:
    """Register a chest CT to another one of the same patient, with one thread.

    The correlation of the densities is maximised over rotation and translation (Euler angles about the centre of the
    lungs), from coarse to fine. Samples are on a regular grid, so the result is deterministic.

    Args:
        current: Volume of the current series in HU.
        other: Volume of the other series in HU.

    Raises:
        RuntimeError: A file cannot be read.
    """
    fixed, moving = CoarseImage.read(current), CoarseImage.read(other)
    inside = fixed.inside()
    method = _method(fixed)
    method.SetInitialTransform(_start(fixed, moving), inPlace=False)
    transform = sitk.Euler3DTransform(
        sitk.CompositeTransform(method.Execute(fixed.image, moving.image)).GetNthTransform(0)
    )
    correlation, covered = _similarity(fixed.image, moving.image, transform, inside)
    return Registration(_as_matrix(transform), correlation, covered)


def _method(fixed: CoarseImage) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsCorrelation()
    if fixed.region is not None:
        method.SetMetricFixedMask(fixed.region)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentagePerLevel(_SAMPLED, 1)  # a fixed seed
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(_LEVELS)
    method.SetSmoothingSigmasPerLevel([factor if factor > 1 else 0 for factor in _LEVELS])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=_FIRST_STEP_MM,
        minStep=_LAST_STEP_MM,
        numberOfIterations=_ITERATIONS,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    return method


def _start(fixed: CoarseImage, moving: CoarseImage) -> sitk.Euler3DTransform:
    """Return the translation with the highest similarity among likely ones: the tables or the lungs at one position."""
    small = sitk.Shrink(fixed.image, [_SEARCH_SHRINK] * 3)
    inside = fixed.inside()[(slice(_SEARCH_SHRINK // 2, None, _SEARCH_SHRINK),) * 3]
    inside = inside if inside.shape == small.GetSize()[::-1] else np.ones(small.GetSize()[::-1], bool)

    def score(shift: np.ndarray) -> float:
        correlation, covered = _similarity(small, moving.image, _translation(shift, fixed.centre), inside)
        return correlation * min(1.0, covered / LOWEST_COVERED)

    return _translation(max(_likely_shifts(fixed, moving), key=score), fixed.centre)


def _likely_shifts(fixed: CoarseImage, moving: CoarseImage) -> Iterator[np.ndarray]:
    known = (np.zeros(3), middle_of(moving.image) - middle_of(fixed.image), moving.centre - fixed.centre)
    for shift in known:
        for offset in itertools.product(*_SEARCH_MM):
            yield shift + offset


def _translation(shift: np.ndarray, centre: np.ndarray) -> sitk.Euler3DTransform:
    transform = sitk.Euler3DTransform()
    transform.SetCenter(centre.tolist())
    transform.SetTranslation(shift.tolist())
    return transform


def _similarity(
    fixed: sitk.Image, moving: sitk.Image, transform: sitk.Transform, inside: np.ndarray
) -> tuple[float, float]:
    """Return the correlation of two images where both show the region, and the share of it that both show."""
    resample = sitk.ResampleImageFilter()
    resample.SetNumberOfThreads(1)
    resample.SetReferenceImage(fixed)
    resample.SetTransform(transform)
    resample.SetDefaultPixelValue(_OUTSIDE)
    moved = sitk.GetArrayFromImage(resample.Execute(moving))
    both = inside & (moved > _OUTSIDE / 2)
    values = sitk.GetArrayViewFromImage(fixed)[both], moved[both]
    if both.sum() < 2 or not all(np.ptp(one) > 0 for one in values):
        return 0.0, 0.0
    return float(np.corrcoef(*values)[0, 1]), float(both.sum() / inside.sum())


def _as_matrix(transform: sitk.Euler3DTransform) -> np.ndarray:
    centre = np.array(transform.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = centre + transform.GetTranslation() - matrix[:3, :3] @ centre
    return matrix
