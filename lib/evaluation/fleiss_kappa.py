"""Fleiss' kappa: agreement of several readers beyond what chance explains.

Here the subjects are voxels and the categories are "marked" and "not marked". Lesions are no suitable subjects of a
kappa of detection: places that nobody marked cannot be counted, so that the readers never agree on "no lesion".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RatingCounts:
    """Sums over subjects that kappa follows from; those of several images are added.

    Attributes:
        subjects: Number of subjects.
        agreement: Sum over the subjects of the share of pairs of readers who chose the same category.
        ratings: Number of ratings by category.
    """

    subjects: int
    agreement: float
    ratings: tuple[int, ...]

    def __add__(self, other: RatingCounts) -> RatingCounts:
        ratings = tuple(one + more for one, more in zip(self.ratings, other.ratings, strict=True))
        return RatingCounts(self.subjects + other.subjects, self.agreement + other.agreement, ratings)

    @property
    def kappa(self) -> float | None:
        """Fleiss' kappa; None without subjects, or if all ratings are of one category."""
        if not self.subjects:
            return None
        shares = np.array(self.ratings) / sum(self.ratings)
        by_chance = float((shares**2).sum())
        observed = self.agreement / self.subjects
        return None if by_chance == 1 else (observed - by_chance) / (1 - by_chance)


def count_ratings(table: np.ndarray) -> RatingCounts:
    """Return the sums of a table of ratings (Fleiss 1971, eqs. 1 to 7).

    Args:
        table: Number of readers by subject and category, shape (subjects, categories); two or more readers each.

    Raises:
        ValueError: A subject has fewer than two ratings.
    """
    readers = table.sum(axis=1)
    if (readers < 2).any():
        raise ValueError("Fleiss' kappa needs two or more ratings of each subject.")
    agreement = (table * (table - 1)).sum(axis=1) / (readers * (readers - 1))
    return RatingCounts(len(table), float(agreement.sum()), tuple(int(count) for count in table.sum(axis=0)))


def count_voxels(masks: np.ndarray) -> RatingCounts:
    """Return the sums of the voxels of one lesion: each reader marked a voxel or not.

    Kappa depends on how much background is counted. Give the masks in the bounding box of all that any reader marked:
    it needs no margin that somebody would have to choose.

    Args:
        masks: Mask of each reader, shape (readers, X, Y, Z), bool; two or more readers.

    Raises:
        ValueError: There are fewer than two readers.
    """
    marked = masks.reshape(len(masks), -1).sum(axis=0)
    return count_ratings(np.stack([len(masks) - marked, marked], axis=1))
