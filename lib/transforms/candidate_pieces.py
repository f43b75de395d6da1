"""Pieces of one lesion: marked components with a narrow gap between them, which are judged and shown as one finding.

After a retraining, the network may mark a lesion that is unlike those it was trained on in several pieces. Each of them
looks like no lesion, because a classifier of candidates sees only a part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from lib.transforms.candidates import Candidates

GAP_MM = 7.0  # largest distance of two pieces, between the centres of their voxels
_BRIDGE_SHARE = 0.25  # of the threshold: smallest probability of the voxels that connect two pieces


@dataclass(frozen=True)
class JoinedCandidates:
    """Candidates, of which some consist of several components.

    Attributes:
        candidates: The candidates; one has the voxels of all its pieces.
        pieces: The components, numbered as they were before.
        owner: Index of the candidate of each piece, (pieces.count,).
    """

    candidates: Candidates
    pieces: Candidates
    owner: np.ndarray

    @classmethod
    def of(cls, pieces: Candidates) -> JoinedCandidates:
        """Join components with a distance of at most ``GAP_MM``, also over a third one."""
        owner = np.arange(pieces.count)
        for one, other in _near(pieces):
            owner[owner == owner[one]] = owner[other]
        numbers, owner = np.unique(owner, return_inverse=True)
        components = np.concatenate([[0], owner + 1])[pieces.components].astype(pieces.components.dtype)
        return cls(replace(pieces, components=components, count=len(numbers)), pieces, owner)

    def bridge(self, kept: np.ndarray, threshold: float) -> None:
        """Raise the probability between the pieces of a candidate to the threshold, in place.

        This concerns voxels that are at most ``GAP_MM`` away from two of the pieces and whose probability is at least a
        quarter of the threshold. Pieces without such voxels between them remain apart.

        Args:
            kept: Which candidates to connect, bool, (candidates.count,).
            threshold: Smallest probability of a tumour voxel.
        """
        for candidate in np.flatnonzero(kept & (np.bincount(self.owner, minlength=len(kept)) > 1)):
            window, between = self._between(np.flatnonzero(self.owner == candidate), threshold)
            part = self.pieces.probability[window]
            part[between] = np.maximum(part[between], threshold)

    def _between(self, pieces: Sequence[int] | np.ndarray, threshold: float) -> tuple[tuple[slice, ...], np.ndarray]:
        """Return a window of the field, and which of its voxels connect some pieces, bool."""
        places = [np.argwhere(self.pieces.components == piece + 1) for piece in pieces]
        origin = np.array([cut.start for cut in self.pieces.window])
        every = np.concatenate(places) + origin
        window = tuple(slice(low, high + 1) for low, high in zip(every.min(0), every.max(0), strict=True))
        probability = self.pieces.probability[window]
        weak = (probability >= _BRIDGE_SHARE * threshold) & (probability < threshold)
        voxels = (np.argwhere(weak) + every.min(0)) @ self.pieces.axes.T
        trees = [cKDTree((one + origin) @ self.pieces.axes.T) for one in places]
        near = sum(np.isfinite(tree.query(voxels, distance_upper_bound=GAP_MM)[0]).astype(int) for tree in trees)
        between = np.zeros(weak.shape, bool)
        between[weak] = near >= 2
        return window, between


def _near(pieces: Candidates) -> Iterator[tuple[int, int]]:
    """Yield the pairs of components with a distance of at most ``GAP_MM``."""
    if pieces.count < 2:
        return
    inside = np.nonzero(pieces.components)
    numbers = pieces.components[inside] - 1
    order = np.argsort(numbers, kind="stable")
    points = (np.stack(inside, axis=1) @ pieces.axes.T)[order]
    groups = np.split(points, np.cumsum(np.bincount(numbers, minlength=pieces.count))[:-1])
    low, high = (np.array([edge(group, axis=0) for group in groups]) for edge in (np.min, np.max))
    for one in range(1, pieces.count):
        apart = np.maximum(low[:one] - high[one], low[one] - high[:one])
        for other in np.flatnonzero((apart <= GAP_MM).all(1)):
            nearest, _ = cKDTree(groups[one]).query(groups[other], distance_upper_bound=GAP_MM)
            if np.isfinite(nearest).any():
                yield one, int(other)
