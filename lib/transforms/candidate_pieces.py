"""Pieces of one lesion: marked components with a narrow gap between them, which are judged and shown as one finding.

After a retraining, the network may mark a lesion that is unlike those it was trained on in several pieces. Each of them
looks like no lesion, because a classifier of candidates sees only a part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array, csgraph
from scipy.spatial import cKDTree

from lib.geometry.boxes import widened
from lib.transforms.candidates import Candidates

GAP_MM = 7.0  # two pieces are less than this apart, between the centres of their voxels
_BRIDGE_SHARE = 0.25  # of the threshold: smallest probability of the voxels that connect two pieces
_SHARE = 0.25  # of the volume of the largest part of the same lesion, below which a part is a fragment
_BELOW = 1 - 1e-6  # whether voxels are exactly that far apart depends on rounding
_ABOVE = 1 + 1e-5  # the threshold itself is below it after resampling, by rounding


def are_fragments(volumes: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Return which components are smaller than a quarter of the largest one with the same owner, bool, (n,).

    Args:
        volumes: Volume of each component, (n,).
        owner: What each component belongs to, int, (n,).
    """
    largest = np.zeros(owner.max(initial=-1) + 1)
    np.maximum.at(largest, owner, volumes)
    return volumes < _SHARE * largest[owner]


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
        """Join components with a distance of less than ``GAP_MM``, also over a third one."""
        pairs = np.array(list(_near(pieces)), int).reshape(-1, 2).T
        graph = coo_array((np.ones(pairs.shape[1]), pairs), shape=(pieces.count, pieces.count))
        count, owner = csgraph.connected_components(graph, directed=False)
        components = np.concatenate([[0], owner + 1])[pieces.components].astype(pieces.components.dtype)
        return cls(replace(pieces, components=components, count=count), pieces, owner)

    def connected(self, confidences: np.ndarray, kept: np.ndarray, threshold: float) -> tuple[Candidates, np.ndarray]:
        """Raise the probability between the pieces of a candidate to the threshold, in place.

        This concerns voxels less than ``GAP_MM`` away from two of the pieces, with a probability of at least a quarter
        of the threshold. Pieces without such voxels between them remain apart. Where such voxels touch another
        candidate, both become one component.

        Args:
            confidences: Confidence of each candidate, (candidates.count,).
            kept: Which candidates to connect, bool, (candidates.count,); the probability of the others is 0 already.
            threshold: Smallest probability of a tumour voxel.

        Returns:
            The components after this, and the index of the candidate that the largest piece of each belongs to.
        """
        for candidate in np.flatnonzero(kept & (np.bincount(self.owner, minlength=len(kept)) > 1)):
            window, between = self._between(np.flatnonzero(self.owner == candidate), threshold)
            part = self.pieces.probability[self.pieces.window][window]
            part[between] = np.maximum(part[between], threshold * _ABOVE)
        after = Candidates.of(self.pieces.probability, threshold, self.pieces.axes)
        order = np.lexsort([confidences[self.owner], self.pieces.volumes_mm3])  # the last one counts
        owners = np.full(after.count + 1, -1)
        owners[self._parts(after)[order]] = self.owner[order]
        owner = owners[1:]
        return after.without(owner < 0), owner[owner >= 0]  # the others lie between pieces, but touch none

    def fragments_in(self, parts: Candidates) -> tuple[Candidates, np.ndarray]:
        """Return the pieces that are fragments of one of the components after `connected`, and the index of that."""
        part = self._parts(parts)
        fragments = are_fragments(self.pieces.volumes_mm3, part) & (part > 0)
        return _in_window(self.pieces, parts.window).only(fragments), part[fragments] - 1

    def _parts(self, parts: Candidates) -> np.ndarray:
        """Return the number of the component after `connected` that each piece is in, (pieces.count,); 0 for none."""
        if not parts.count:
            return np.zeros(self.pieces.count, int)
        numbers = np.arange(1, self.pieces.count + 1)
        pieces = _in_window(self.pieces, parts.window).components
        return np.asarray(ndimage.maximum(parts.components, pieces, numbers), int)

    def _between(self, pieces: Sequence[int] | np.ndarray, threshold: float) -> tuple[tuple[slice, ...], np.ndarray]:
        """Return a window of the window of the pieces, and which of its voxels connect some pieces, bool."""
        boxes = [self.pieces.boxes[piece] for piece in pieces]
        window = tuple(
            slice(min(one.start for one in side), max(one.stop for one in side)) for side in zip(*boxes, strict=True)
        )
        numbers = self.pieces.components[window]
        probability = self.pieces.probability[self.pieces.window][window]
        weak = (probability >= _BRIDGE_SHARE * threshold) & (probability < threshold)
        near = np.zeros(weak.shape, np.int32)
        for piece, box in zip(pieces, boxes, strict=True):
            moved = [slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, window, strict=True)]
            around = widened(moved, _reach(self.pieces), weak.shape)
            distances = _distances(weak[around], numbers[around] == piece + 1, self.pieces.axes)
            near[around][weak[around]] += np.isfinite(distances)
        return window, near >= 2


def _in_window(candidates: Candidates, window: tuple[slice, ...]) -> Candidates:
    """Return the part of candidates in a window that is within theirs; none if the windows do not meet."""
    pairs = zip(window, candidates.window, strict=True)
    within = tuple(slice(max(cut.start - own.start, 0), max(cut.stop - own.start, 0)) for cut, own in pairs)
    return replace(candidates, window=window, components=candidates.components[within])


def _near(pieces: Candidates) -> Iterator[tuple[int, int]]:
    """Yield the pairs of components with a distance of less than ``GAP_MM``, in both orders."""
    for piece, box in enumerate(pieces.boxes):
        numbers = pieces.components[widened(box, _reach(pieces), pieces.components.shape)]
        others = (numbers > 0) & (numbers != piece + 1)
        if others.any():
            distances = _distances(others, numbers == piece + 1, pieces.axes)
            for other in np.unique(numbers[others][np.isfinite(distances)]):
                yield piece, int(other) - 1


def _reach(pieces: Candidates) -> np.ndarray:
    """Return ``GAP_MM`` in voxels along each axis, rounded up."""
    return np.ceil(GAP_MM / np.linalg.norm(pieces.axes, axis=0)).astype(int)


def _distances(voxels: np.ndarray, piece: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return the distance in mm of each voxel of a mask to another of the same shape; infinite from ``GAP_MM``."""
    tree = cKDTree(np.argwhere(piece) @ axes.T)
    return tree.query(np.argwhere(voxels) @ axes.T, distance_upper_bound=GAP_MM * _BELOW)[0]
