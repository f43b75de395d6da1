"""Evaluation of one model on one image with ground truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.evaluation.froc import LesionMatches
from lib.evaluation.metrics import MatchedLesion, VoxelCounts, match_lesions
from lib.evaluation.readers import ReaderAgreement, agreement_with_readers
from lib.evaluation.robustness import intensity_changes
from lib.evaluation.truth import read_truth
from lib.inference import Predictor


@dataclass(frozen=True)
class CaseResult:
    """Result of one model on one image.

    Attributes:
        name: Name of the case.
        patient: Its patient.
        counts: Confusion matrix over all voxels of the image.
        lesions: Lesions of the ground truth, with how well they were found.
        false_positives: Number of predicted components that touch no lesion.
        changed_dice: Dice by name of the change of intensity; empty if not measured.
        by_limit: Lesions and false positives by ``false_findings_per_scan``; empty if not measured.
        readers: Agreement with the readers; None if the image has a single one, or if they agree on no voxel.
    """

    name: str
    patient: str
    counts: VoxelCounts
    lesions: list[MatchedLesion]
    false_positives: int
    changed_dice: dict[str, float]
    by_limit: dict[float, LesionMatches] = field(default_factory=dict)
    readers: ReaderAgreement | None = None

    @property
    def robustness_std(self) -> float | None:
        """Standard deviation of Dice over the unchanged and the changed images."""
        return float(np.std([self.counts.dice, *self.changed_dice.values()])) if self.changed_dice else None

    def to_json(self) -> dict[str, Any]:
        """Return the result for a file, without ``by_limit``."""
        return {
            "name": self.name,
            "patient": self.patient,
            "dice": self.counts.dice,
            "voxels": asdict(self.counts),
            "false_positives": self.false_positives,
            "lesions": [asdict(lesion) | {"found": lesion.hit} for lesion in self.lesions],
            "changed_dice": self.changed_dice,
            "readers": asdict(self.readers) if self.readers else None,
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> CaseResult:
        """Return the result that `to_json` saved."""
        return cls(
            name=saved["name"],
            patient=saved["patient"],
            counts=VoxelCounts(**saved["voxels"]),
            lesions=[_lesion_from_json(lesion) for lesion in saved["lesions"]],
            false_positives=saved["false_positives"],
            changed_dice=saved["changed_dice"],
            readers=ReaderAgreement(**saved["readers"]) if saved["readers"] else None,
        )


def _lesion_from_json(saved: Mapping[str, Any]) -> MatchedLesion:
    return MatchedLesion(**{name: value for name, value in saved.items() if name != "found"})


def evaluate_case(
    name: str,
    image: Path,
    mask: Path,
    patient: str,
    predictor: Predictor,
    robustness: bool,
    limits: Sequence[float] = (),
) -> tuple[CaseResult, np.ndarray]:
    """Evaluate one image; return the result and the predicted mask (X, Y, Z).

    Args:
        name: Name of the case.
        image: Volume in HU.
        mask: Ground truth on the same grid; with a fourth axis, the masks of several readers along it, whose consensus
            is the ground truth.
        patient: Patient of the image.
        predictor: The model.
        robustness: Also predict under each change of intensity.
        limits: Also evaluate with each of these as ``false_findings_per_scan``.
    """
    truth = read_truth(image, mask)
    options = predictor.model.options
    variants = [options.model_copy(update={"false_findings_per_scan": limit}) for limit in limits]
    prediction, *others = predictor.predict_variants(image, [options, *variants])
    found = prediction.mask
    lesions, false_positives = match_lesions(found, truth.mask, truth.voxel_mm3, truth.marked, prediction.findings)
    changes = intensity_changes(predictor.model.hu_std) if robustness else {}
    result = CaseResult(
        name=name,
        patient=patient,
        counts=VoxelCounts.of(found, truth.mask),
        lesions=lesions,
        false_positives=false_positives,
        changed_dice={
            change: VoxelCounts.of(predictor.predict_variants(image, [options], function)[0].mask, truth.mask).dice
            for change, function in changes.items()
        },
        by_limit={
            limit: match_lesions(other.mask, truth.mask, truth.voxel_mm3, truth.marked)
            for limit, other in zip(limits, others, strict=True)
        },
        readers=agreement_with_readers(found, truth.readers, truth.voxel_mm3),
    )
    return result, found
