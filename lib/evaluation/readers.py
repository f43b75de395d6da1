"""Agreement of a model with the readers of an image, and of the readers with each other."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lib.evaluation.metrics import VoxelCounts, sphere_diameter
from lib.transforms.reader_mean import consensus

_FOR_CONSENSUS_OF_OTHERS = 3


@dataclass(frozen=True)
class ReaderAgreement:
    """Dice of the model and of the readers on one image, over all its voxels.

    A reader is compared with the consensus of the others, because the consensus of all contains the reader's own
    outline. That consensus differs from the one of all; in ``model_with_others`` the model is measured by it, too.

    Attributes:
        readers: Number of readers, two or more.
        diameter_mm: Diameter of a sphere with the volume of the consensus, in mm.
        model: The model with the consensus of all readers.
        model_with_others: The model with the consensus of all readers but one, mean over the one left out; None with
            two readers.
        reader: A reader with the consensus of the others, mean over the readers; None with two readers.
        pairs: Two readers with each other, mean over all pairs.
    """

    readers: int
    diameter_mm: float
    model: float
    model_with_others: float | None
    reader: float | None
    pairs: float

    @property
    def difference(self) -> float | None:
        """The model with the consensus of all, minus a reader with the consensus of the others."""
        return None if self.reader is None else self.model - self.reader

    @property
    def difference_with_others(self) -> float | None:
        """The model minus a reader, both with the consensus of the other readers."""
        if self.reader is None or self.model_with_others is None:
            return None
        return self.model_with_others - self.reader


def agreement_with_readers(found: np.ndarray, readers: np.ndarray, voxel_mm3: float) -> ReaderAgreement | None:
    """Compare a predicted mask with the masks of the readers; None with a single reader or an empty consensus.

    Args:
        found: Predicted mask, shape (X, Y, Z).
        readers: Mask of each reader, shape (X, Y, Z, readers), bool.
        voxel_mm3: Volume of a voxel in mm³.
    """
    if readers.shape[-1] < 2:
        return None
    marked = readers.any(axis=-1) | (found > 0)  # Dice does not depend on voxels that nobody marked
    model, each = found[marked] > 0, list(readers[marked].T)
    agreed = _consensus(each)
    if not agreed.any():
        return None
    with_others = len(each) >= _FOR_CONSENSUS_OF_OTHERS
    others = [_consensus(each[:left_out] + each[left_out + 1 :]) for left_out in range(len(each))]
    return ReaderAgreement(
        readers=len(each),
        diameter_mm=sphere_diameter(agreed.sum() * voxel_mm3),
        model=_dice(model, agreed),
        model_with_others=float(np.mean([_dice(model, other) for other in others])) if with_others else None,
        reader=float(np.mean(list(map(_dice, each, others)))) if with_others else None,
        pairs=float(np.mean([_dice(one, other) for one, other in combinations(each, 2)])),
    )


def _consensus(masks: list[np.ndarray]) -> np.ndarray:
    return consensus(np.mean(masks, axis=0))


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    return VoxelCounts.of(one, other).dice
