"""Candidate lesions in the network's field: connected components of the voxels that the network marks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import ndimage

from lib.geometry.connected_components import cropped_components
from lib.geometry.voxel_grid import voxel_mm3


@dataclass(frozen=True)
class Candidates:
    """Connected components (26 neighbours) of the voxels with a probability of at least a threshold.

    All candidates are measured at once, as there may be thousands. Arrays have one row per candidate.

    Attributes:
        window: Bounding box of all candidates in the field.
        components: Number of the candidate of each voxel of the window, from 1; 0 outside.
        count: Number of candidates.
        probability: Probability of tumour in the whole field, (X, Y, Z).
        axes: Steps in mm from one voxel to the next, as columns; 3x3.
    """

    window: tuple[slice, ...]
    components: np.ndarray
    count: int
    probability: np.ndarray
    axes: np.ndarray

    @classmethod
    def of(cls, probability: np.ndarray, threshold: float, affine: np.ndarray) -> Candidates:
        """Return the candidates of a volume.

        Args:
            probability: Probability of tumour, (X, Y, Z); not copied.
            threshold: Smallest probability of a tumour voxel.
            affine: Affine of the field, mm.
        """
        window, components, count = cropped_components(probability >= threshold)
        return cls(window, components, count, probability, np.asarray(affine, float)[:3, :3])

    def without(self, removed: np.ndarray) -> Candidates:
        """Return the candidates without some of them, renumbered; the probability of those is set to 0, in place.

        Args:
            removed: Which candidates to remove, bool, (count,).
        """
        gone = np.concatenate([[False], removed])[self.components]
        self.probability[self.window][gone] = 0
        return self.only(~removed)

    def only(self, chosen: np.ndarray) -> Candidates:
        """Return some of the candidates, renumbered; the probability stays as it is.

        Args:
            chosen: Which candidates to return, bool, (count,).
        """
        numbers = np.concatenate([[0], np.where(chosen, np.cumsum(chosen), 0)]).astype(self.components.dtype)
        return replace(self, components=numbers[self.components], count=int(chosen.sum()))

    def shares(self, mask: np.ndarray) -> np.ndarray:
        """Return the share of each candidate's voxels that are in a mask of the window, (count,)."""
        hits = np.bincount(self.components[mask], minlength=self.count + 1)[1:]
        return hits / np.maximum(self._voxels, 1)

    @cached_property
    def boxes(self) -> list[tuple[slice, slice, slice]]:
        """Bounding box of each candidate in the window."""
        return ndimage.find_objects(self.components, max_label=self.count)

    @cached_property
    def volumes_mm3(self) -> np.ndarray:
        """Volume of each candidate, mm³."""
        return self._voxels * voxel_mm3(self.axes)

    @cached_property
    def diameters_mm(self) -> np.ndarray:
        """Equivalent spherical diameter of each candidate, mm."""
        return np.cbrt(self.volumes_mm3 * 6 / np.pi)

    @cached_property
    def medians(self) -> np.ndarray:
        """Median probability of each candidate's voxels."""
        if not self.count:
            return np.zeros(0)
        return np.asarray(ndimage.median(*self._values, self._numbers)).reshape(self.count)

    @cached_property
    def peaks(self) -> np.ndarray:
        """Index in the field of the voxel of each candidate with the highest probability, (count, 3)."""
        if not self.count:
            return np.zeros((0, 3), int)
        places = ndimage.maximum_position(self.probability[self.window], self.components, self._numbers)
        return np.asarray(places, int).reshape(-1, 3) + self._origin

    @cached_property
    def voxels(self) -> list[np.ndarray]:
        """Indices in the field of the voxels of each candidate, the most probable first, each (n, 3)."""
        probability, numbers = self._values
        order = np.lexsort([-probability, numbers])
        places = np.stack(self._inside, axis=1, dtype=np.int32)[order] + self._origin.astype(np.int32)
        return np.split(places, np.cumsum(self._voxels)[:-1])[: self.count]

    @cached_property
    def centres(self) -> np.ndarray:
        """Centroid of each candidate as an index in the field, (count, 3), not rounded."""
        places = [self._mean(line.astype(float)) for line in self._inside]
        return np.stack(places, axis=1) + self._origin

    @cached_property
    def elongations(self) -> np.ndarray:
        """Ratio of longest to shortest standard deviation of the voxel positions in mm, voxels being boxes."""
        points = self.axes @ np.stack(self._inside)
        means = np.stack([self._mean(line) for line in points])
        centred = points - means[:, self._values[1] - 1]
        moments = [[self._mean(one * other) for other in centred] for one in centred]
        covariance = np.moveaxis(np.array(moments), -1, 0) + self.axes @ self.axes.T / 12
        variance = np.linalg.eigvalsh(covariance)
        return np.sqrt(variance[:, -1] / variance[:, 0])

    @cached_property
    def _inside(self) -> tuple[np.ndarray, ...]:
        return np.nonzero(self.components)

    @cached_property
    def _values(self) -> tuple[np.ndarray, np.ndarray]:
        """Probability and candidate of each voxel inside a candidate."""
        return self.probability[self.window][self._inside], self.components[self._inside]

    @cached_property
    def _voxels(self) -> np.ndarray:
        return np.bincount(self._values[1], minlength=self.count + 1)[1:]

    @property
    def _numbers(self) -> np.ndarray:
        return np.arange(1, self.count + 1)

    @property
    def _origin(self) -> np.ndarray:
        return np.array([cut.start for cut in self.window])

    def _mean(self, values: np.ndarray) -> np.ndarray:
        """Return the mean over the voxels of each candidate."""
        return np.bincount(self._values[1], values, minlength=self.count + 1)[1:] / self._voxels
