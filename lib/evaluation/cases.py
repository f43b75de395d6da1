"""Evaluation of one model on one image with ground truth."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from monai.transforms import LoadImage

from lib.errors import UserError
from lib.evaluation.froc import LesionMatches
from lib.evaluation.metrics import MatchedLesion, VoxelCounts, match_lesions
from lib.evaluation.robustness import intensity_changes
from lib.inference import Predictor

_SAME_PLACE_MM = 0.1


@dataclass(frozen=True)
class CaseResult:
    """Result of one model on one image.

    Attributes:
        name: Name of the case.
        counts: Confusion matrix over all voxels of the image.
        lesions: Lesions of the ground truth, with how well they were found.
        false_positives: Number of predicted components that touch no lesion.
        changed_dice: Dice by name of the change of intensity; empty if not measured.
        by_limit: Lesions and false positives by ``false_findings_per_scan``; empty if not measured.
    """

    name: str
    counts: VoxelCounts
    lesions: list[MatchedLesion]
    false_positives: int
    changed_dice: dict[str, float]
    by_limit: dict[float, LesionMatches] = field(default_factory=dict)

    @property
    def robustness_std(self) -> float | None:
        """Standard deviation of Dice over the unchanged and the changed images."""
        return float(np.std([self.counts.dice, *self.changed_dice.values()])) if self.changed_dice else None


def evaluate_case(
    name: str,
    image: Path,
    mask: Path,
    predictor: Predictor,
    robustness: bool,
    limits: Sequence[float] = (),
) -> tuple[CaseResult, np.ndarray]:
    """Evaluate one image; return the result and the predicted mask (X, Y, Z).

    Args:
        name: Name of the case.
        image: Volume in HU.
        mask: Ground truth on the same grid.
        predictor: The model.
        robustness: Also predict under each change of intensity.
        limits: Also evaluate with each of these as ``false_findings_per_scan``.
    """
    truth, voxel_mm3 = read_truth(image, mask)
    options = predictor.model.options
    variants = [options.model_copy(update={"false_findings_per_scan": limit}) for limit in limits]
    prediction, *others = predictor.predict_variants(image, [options, *variants])
    found = prediction.mask
    lesions, false_positives = match_lesions(found, truth, voxel_mm3)
    changed = {
        change: VoxelCounts.of(predictor.predict_variants(image, [options], function)[0].mask, truth).dice
        for change, function in (intensity_changes(predictor.model.hu_std) if robustness else {}).items()
    }
    by_limit = {limit: match_lesions(other.mask, truth, voxel_mm3) for limit, other in zip(limits, others, strict=True)}
    return CaseResult(name, VoxelCounts.of(found, truth), lesions, false_positives, changed, by_limit), found


def read_truth(image: Path, mask: Path) -> tuple[np.ndarray, float]:
    """Read a mask as bool (X, Y, Z), and the volume of its voxels in mm³.

    Of a mask with a fourth axis, the masks of several readers, it is the consensus: what at least half of them marked.

    Raises:
        UserError: The mask is not on the grid of the image.
    """
    load = LoadImage(image_only=True)
    truth: MetaTensor = load(mask)
    volume: MetaTensor = load(image)
    same_size = truth.shape[:3] == volume.shape
    far = np.abs(np.asarray(truth.affine - volume.affine)).max() if same_size else np.inf
    if far > _SAME_PLACE_MM:
        raise UserError(f"{mask} is not on the grid of {image}: size, spacing or position differ.")
    voxels = np.asarray(truth) > 0.5
    consensus = voxels.mean(axis=3) >= 0.5 if voxels.ndim == 4 else voxels
    return consensus, float(np.abs(np.linalg.det(np.asarray(truth.affine)[:3, :3])))
