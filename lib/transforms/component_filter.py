"""Filter of findings that are too small, too uncertain or too elongated."""

import logging
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from scipy import ndimage

from lib.geometry.connected_components import cropped_components

logger = logging.getLogger(__name__)


class FilterComponentsd(MapTransform):
    """Set the probability of candidate lesions to 0 that are very small, uncertain, or elongated like a vessel.

    A candidate is a connected component (26 neighbours) of the voxels with a probability of at least the threshold.
    The filter is applied in the network's field, because resampling to the stored grid blurs the outline of small
    candidates, which would make them uncertain by their size alone. Removals are logged. If no lungs were found, only
    the size counts: in a crop, a user has selected the finding.

    Args:
        keys: Probability of tumour in the network's field, shape (1, X, Y, D); changed in place.
        image_key: Input of the network, a MetaTensor of the same field, for the voxel size.
        lungs_key: Lung mask of ``AxialFieldd``, or None.
        threshold: Smallest probability of a tumour voxel.
        min_diameter_mm: Smallest equivalent spherical diameter; 0 keeps all.
        min_confidence: Smallest median probability of a candidate's voxels; the threshold or less keeps all. For the
            mean of several views this requires a core on which the views agree, regardless of a blurred rim.
        max_elongation: Largest ratio of the longest to the shortest standard deviation of the voxel positions; 0 keeps
            all.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        image_key: str,
        lungs_key: str = "lungs",
        threshold: float,
        min_diameter_mm: float,
        min_confidence: float,
        max_elongation: float,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.lungs_key = lungs_key
        self.threshold = threshold
        self.min_diameter_mm = min_diameter_mm
        self.min_confidence = min_confidence
        self.max_elongation = max_elongation

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Set the probability of the removed candidates to 0, in place."""
        d = dict(data)
        axes = np.asarray(d[self.image_key].affine, float)[:3, :3]
        for key in self.key_iterator(d):
            values = torch.as_tensor(d[key])[0].cpu()  # no copy on the CPU, where the logits are
            self._filter(values.numpy(), axes, size_alone=d[self.lungs_key] is None)
            d[key][0] = values
        return d

    def _filter(self, probability: np.ndarray, axes: np.ndarray, size_alone: bool) -> None:
        """Filter an array (X, Y, Z) in place, all candidates at once: there may be thousands.

        Args:
            probability: Probability of tumour.
            axes: Columns are the steps in mm from one voxel to the next.
            size_alone: Ignore probability and shape.
        """
        window, components, count = cropped_components(probability >= self.threshold)
        if not count:
            return
        inside = np.nonzero(components)
        candidate = components[inside]
        voxels = np.bincount(candidate, minlength=count + 1)
        size_mm3 = voxels * np.abs(np.linalg.det(axes))
        removed = size_mm3 < np.pi / 6 * self.min_diameter_mm**3
        if not size_alone:
            medians = ndimage.median(probability[window][inside], candidate, np.arange(1, count + 1))
            removed[1:] |= medians < self.min_confidence
            if self.max_elongation:
                removed |= _elongation(np.stack(inside), candidate, voxels, axes) > self.max_elongation
        removed[0] = False
        probability[window][tuple(line[removed[candidate]] for line in inside)] = 0
        if removed.any():
            logger.info("Removed %d of %d findings: too small, uncertain or elongated.", removed.sum(), count)


def _mean(values: np.ndarray, candidate: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """Return the mean over the voxels of each candidate."""
    return np.bincount(candidate, values, minlength=len(voxels)) / np.maximum(voxels, 1)


def _elongation(indices: np.ndarray, candidate: np.ndarray, voxels: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return the ratio of longest to shortest standard deviation of the voxel positions, voxels being boxes."""
    points = axes @ indices
    centred = points - np.stack([_mean(line, candidate, voxels) for line in points])[:, candidate]
    moments = [[_mean(one * other, candidate, voxels) for other in centred] for one in centred]
    covariance = np.moveaxis(np.array(moments), -1, 0) + axes @ axes.T / 12
    variance = np.linalg.eigvalsh(covariance)
    return np.sqrt(variance[:, -1] / variance[:, 0])
