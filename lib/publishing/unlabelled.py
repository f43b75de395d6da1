"""What a candidate marks on scans without a label, beside the model in use, for the person who decides about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib.geometry.voxel_grid import VoxelGrid
from lib.inference import ModelDescription, Predictor, WeightsSource
from lib.inference.finite import NotFiniteError
from lib.publishing.gate import Verdict

_MUCH_MORE = 2.0
_NOTHING_ML = 0.05  # shown as 0.0


@dataclass(frozen=True)
class Marked:
    """Volume marked on a scan without a label.

    Attributes:
        patient: Its patient.
        before_ml: By the model in use.
        after_ml: By the candidate.
    """

    patient: str
    before_ml: float
    after_ml: float

    def __str__(self) -> str:
        """Return the volumes and, if they differ by a factor of two, the factor."""
        text = f"{self.patient} {self.before_ml:.1f} → {self.after_ml:.1f} ml"
        if self.before_ml < _NOTHING_ML:
            return text if self.after_ml < _NOTHING_ML else f"{text} (nothing before)"
        factor = self.after_ml / self.before_ml
        if 1 / _MUCH_MORE < factor < _MUCH_MORE:
            return text
        return f"{text} ({factor:.2g} times as much)"


def marked_volumes(
    scans: Mapping[Path, str], before: WeightsSource, after: WeightsSource, model: ModelDescription
) -> list[Marked]:
    """Return what two models mark; scans without a finite output are left out.

    Args:
        scans: Volumes with their patients.
        before: Weights in use.
        after: Weights of the candidate.
        model: The model without its weights.
    """
    old, new = Predictor(model, before), Predictor(model, after)
    found = []
    for image, patient in scans.items():
        voxel_ml = VoxelGrid.from_file(image).voxel_mm3 / 1000
        try:
            volumes = [voxel_ml * int(one.predict(image).sum()) for one in (old, new)]
        except NotFiniteError:
            continue
        found.append(Marked(patient, *volumes))
    return found


def with_volumes(verdict: Verdict, marked: Sequence[Marked]) -> Verdict:
    """Return a verdict whose reason also says what is marked on scans without a label."""
    if not marked:
        return verdict
    volumes = ", ".join(map(str, marked))
    return replace(verdict, reason=f"{verdict.reason} Marked on scans without a label: {volumes}.")
