"""What the model finds in a scan as it is, on thicker slices, and with a sharper kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.evaluation.composed_scans import Volume, save_volume
from lib.evaluation.metrics import SIZES_MM, MatchedLesion, match_lesions, size_title
from lib.inference import Predictor
from tools.acquisition.kernel_change import KernelChange
from tools.acquisition.thick_slices import on_thin_slices, thicken

Variant = Callable[[Volume], tuple[Volume, Callable[[np.ndarray], np.ndarray]]]
"""Returns the changed scan, and a function that puts a mask of it on the grid of the scan."""


def variants(counts: Sequence[int], change: KernelChange | None) -> Iterator[tuple[str, Variant]]:
    """Yield the scan as it is, each number of joined slices, and the sharper kernel, with their names."""
    for count in (1, *counts):
        yield f"{count} slices joined" if count > 1 else "as it is", _joined(count)
    if change is not None:
        yield "sharper kernel", _sharper(change)


def _joined(count: int) -> Variant:
    return lambda scan: (thicken(scan, count), lambda found: on_thin_slices(found, count, scan.hu.shape[2]))


def _sharper(change: KernelChange) -> Variant:
    return lambda scan: (replace(scan, hu=change.apply(scan, np.random.default_rng(0))), lambda found: found)


@dataclass(frozen=True)
class Measured:
    """What the model found in one variant of a scan.

    Attributes:
        spacing_mm: Distance of its slices.
        lesions: Lesions of the scan, on the grid of the scan.
        false_findings: Components that touch no lesion.
        ml: Volume of all that is marked.
    """

    spacing_mm: float
    lesions: list[MatchedLesion]
    false_findings: int
    ml: float


def measure(scan: Volume, variant: Variant, predictor: Predictor, scratch: Path) -> Measured:
    """Segment one variant of a scan, and compare it with the lesions of the scan."""
    changed, back = variant(scan)
    image, _ = save_volume(changed, "variant", scratch, ".nii")
    found = back(predictor.predict(image))
    voxel_mm3 = float(np.prod(scan.spacing))
    lesions, false_findings = match_lesions(found, scan.mask, voxel_mm3)
    return Measured(changed.spacing[2], lesions, false_findings, float(found.sum()) * voxel_mm3 / 1000)


def summary(measured: Sequence[Measured]) -> dict[str, Any]:
    """Return the measures of one variant over all scans.

    A lesion counts as found if any of it is marked: on thick slices, the outline of a small one cannot match.
    """
    sizes = {
        size_title(low, high): [one for scan in measured for one in scan.lesions if low <= one.diameter_mm < high]
        for low, high in SIZES_MM
    }
    return {
        "scans": len(measured),
        "spacing_mm": measured[0].spacing_mm,
        "found": {title: [sum(one.dice > 0 for one in lesions), len(lesions)] for title, lesions in sizes.items()},
        "dice": {title: float(np.mean([one.dice for one in lesions])) for title, lesions in sizes.items() if lesions},
        "false_findings_per_scan": float(np.mean([one.false_findings for one in measured])),
        "ml": float(np.mean([one.ml for one in measured])),
    }
