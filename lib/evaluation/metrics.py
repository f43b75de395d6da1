"""What is measured on one image: counts of voxels, and lesions found, missed and invented."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.geometry.connected_components import connected_components

HIT_IOU = 0.3
SMALL_MM = 10.0


@dataclass(frozen=True)
class VoxelCounts:
    """The paper's Table 1 over voxels."""

    true_positive: int
    true_negative: int
    false_positive: int
    false_negative: int

    @classmethod
    def of(cls, found: np.ndarray, truth: np.ndarray) -> "VoxelCounts":
        """Count over two masks of the same shape."""
        if found.shape != truth.shape:
            raise ValueError(f"The masks are not on the same grid: {found.shape} and {truth.shape} voxels.")
        found, truth = found.astype(bool), truth.astype(bool)
        both = int((found & truth).sum())
        return cls(both, int((~found & ~truth).sum()), int(found.sum()) - both, int(truth.sum()) - both)

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN): over the same voxels also the F-score (eq. 14). 1 where both are empty."""
        return _ratio(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN). 1 where both are empty."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive + self.false_negative)

    @property
    def accuracy(self) -> float:
        """Equation 11."""
        right = self.true_positive + self.true_negative
        return _ratio(right, right + self.false_positive + self.false_negative)

    @property
    def precision(self) -> float:
        """Equation 12. 1 where nothing was found."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def sensitivity(self) -> float:
        """Equation 13. 1 where there is nothing to find."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)


@dataclass(frozen=True)
class MatchedLesion:
    """One connected component of the truth.

    Attributes:
        diameter_mm: Of the ball of the same volume.
        best_iou: With the predicted component that fits it best.
        dice: With that component; 0 where none touches it.
    """

    diameter_mm: float
    best_iou: float
    dice: float

    @property
    def hit(self) -> bool:
        """Found: IoU of 0.3 or more with one predicted component."""
        return self.best_iou >= HIT_IOU

    @property
    def small(self) -> bool:
        """Under 10 mm."""
        return self.diameter_mm < SMALL_MM


def match_lesions(found: np.ndarray, truth: np.ndarray, voxel_mm3: float) -> tuple[list[MatchedLesion], int]:
    """Lesions of the truth with what was found of them, and the number of components that touch none.

    Components are 26-connected, so that a lesion drawn slice by slice stays one.

    Args:
        found: Predicted mask, shape (X, Y, Z).
        truth: True mask, same shape.
        voxel_mm3: Volume of a voxel.
    """
    components, count = connected_components(found)
    targets, _ = connected_components(truth)
    sizes = np.bincount(components.ravel(), minlength=count + 1)
    touching: set[int] = set()
    lesions = []
    for index, box in enumerate(ndimage.find_objects(targets), start=1):
        inside = components[box][targets[box] == index]
        size = inside.size
        overlaps = np.bincount(inside, minlength=1)
        overlaps[0] = 0
        candidates = np.flatnonzero(overlaps)
        touching.update(candidates.tolist())
        ious = [overlaps[label] / (size + sizes[label] - overlaps[label]) for label in candidates]
        best = max(ious, default=0.0)
        diameter = (6 * size * voxel_mm3 / np.pi) ** (1 / 3)
        lesions.append(MatchedLesion(float(diameter), float(best), float(2 * best / (1 + best))))
    return lesions, count - len(touching)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
