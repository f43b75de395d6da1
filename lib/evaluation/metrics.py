"""Metrics of one image: the confusion matrix of its voxels, and lesions found, missed and false positive."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.geometry.connected_components import connected_components
from lib.inference.findings import Finding, finding_at_each_component

HIT_IOU = 0.3
SMALL_MM = 10.0
SIZES_MM: tuple[tuple[float, float], ...] = ((0, 6), (6, 10), (10, 20), (20, np.inf))  # diameters, from and below


@dataclass(frozen=True)
class VoxelCounts:
    """Confusion matrix over voxels (Table 1 of the paper)."""

    true_positive: int
    true_negative: int
    false_positive: int
    false_negative: int

    @classmethod
    def of(cls, found: np.ndarray, truth: np.ndarray) -> "VoxelCounts":
        """Compare two masks of the same shape.

        Raises:
            ValueError: The shapes differ.
        """
        if found.shape != truth.shape:
            raise ValueError(f"The masks are not on the same grid: {found.shape} and {truth.shape} voxels.")
        found, truth = found.astype(bool), truth.astype(bool)
        both = int((found & truth).sum())
        return cls(both, int((~found & ~truth).sum()), int(found.sum()) - both, int(truth.sum()) - both)

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN), which is also the F-score (eq. 14); 1 if both masks are empty."""
        return _ratio(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN); 1 if both masks are empty."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive + self.false_negative)

    @property
    def accuracy(self) -> float:
        """Share of voxels that are correct (eq. 11)."""
        right = self.true_positive + self.true_negative
        return _ratio(right, right + self.false_positive + self.false_negative)

    @property
    def precision(self) -> float:
        """TP / (TP + FP) (eq. 12); 1 if nothing was predicted."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def sensitivity(self) -> float:
        """TP / (TP + FN) (eq. 13); 1 if the ground truth is empty."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)


@dataclass(frozen=True)
class MatchedLesion:
    """Lesion of the ground truth with the predicted component that matches it best.

    Attributes:
        diameter_mm: Diameter of a sphere of the same volume.
        best_iou: IoU with that component; 0 if none touches the lesion.
        dice: Dice with that component; 0 if none touches the lesion.
        confidence: Confidence of the model in that component, 0 to 1; None if none touches the lesion or it was not
            judged.
    """

    diameter_mm: float
    best_iou: float
    dice: float
    confidence: float | None = None

    @property
    def hit(self) -> bool:
        """Whether it was found: IoU of at least 0.3 with one predicted component."""
        return self.best_iou >= HIT_IOU

    @property
    def small(self) -> bool:
        """Whether its diameter is under 10 mm."""
        return self.diameter_mm < SMALL_MM


def match_lesions(
    found: np.ndarray,
    truth: np.ndarray,
    voxel_mm3: float,
    marked: np.ndarray | None = None,
    findings: Iterable[Finding] = (),
) -> tuple[list[MatchedLesion], int]:
    """Match the lesions of the ground truth with predicted components.

    Components are 26-connected, so that a lesion drawn slice by slice stays one.

    Args:
        found: Predicted mask, shape (X, Y, Z).
        truth: Ground truth mask, same shape.
        voxel_mm3: Volume of a voxel in mm³.
        marked: What any reader marked, same shape (default: the ground truth). Pieces of the consensus within one
            component of it are one lesion, and not several tiny ones.
        findings: Findings of the predicted mask, for their confidence.

    Returns:
        The lesions, and the number of predicted components that touch none (false positives).
    """
    components, count = connected_components(found)
    targets, _ = connected_components(truth if marked is None else marked)
    targets = targets * (truth > 0)
    judged = finding_at_each_component(components, findings)
    sizes = np.bincount(components.ravel(), minlength=count + 1)
    touching: set[int] = set()
    lesions = []
    for index, box in enumerate(ndimage.find_objects(targets), start=1):
        if box is None:  # marked by fewer than half of the readers
            continue
        inside = components[box][targets[box] == index]
        size = inside.size
        overlaps = np.bincount(inside, minlength=1)
        overlaps[0] = 0
        candidates = np.flatnonzero(overlaps)
        touching.update(candidates.tolist())
        ious = [overlaps[label] / (size + sizes[label] - overlaps[label]) for label in candidates]
        best, number = max(zip(ious, candidates.tolist(), strict=True), default=(0.0, 0))
        confidence = judged[number].confidence if number in judged else None
        dice = float(2 * best / (1 + best))
        lesions.append(MatchedLesion(sphere_diameter(size * voxel_mm3), float(best), dice, confidence))
    return lesions, count - len(touching)


def iou_of(dice: float) -> float:
    """Return the IoU of two masks from their Dice coefficient."""
    return dice / (2 - dice)


def sphere_diameter(volume_mm3: float) -> float:
    """Return the diameter in mm of a sphere of a volume in mm³."""
    return float((6 * volume_mm3 / np.pi) ** (1 / 3))


def size_title(low: float, high: float) -> str:
    """Return the name of a class of diameters.

    Example:
        >>> [size_title(*limits) for limits in SIZES_MM]
        ['under 6 mm', '6 to 10 mm', '10 to 20 mm', '20 mm and more']
    """
    if low == 0:
        return f"under {high:g} mm"
    return f"{low:g} mm and more" if np.isinf(high) else f"{low:g} to {high:g} mm"


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
