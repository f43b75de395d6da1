"""Findings too small or too doubtful to show."""

import logging
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scipy import ndimage

logger = logging.getLogger(__name__)

_EVERY_NEIGHBOUR = np.ones((3, 3, 3), bool)


class DropDoubtfuld(MapTransform):
    """Set the probability of a candidate lesion to 0 where it is very small, or nowhere confident.

    A candidate is a connected component (26 neighbours) of the probability at or over the threshold. What is
    dropped is logged, never silent.

    Args:
        keys: Probability of tumour, shape (1, X, Y, Z).
        threshold: Probability from which a voxel counts as tumour.
        min_diameter_mm: Diameter of the ball of the same volume below which a candidate is dropped; 0 keeps all.
        min_confidence: Highest probability that a candidate must reach somewhere; the threshold or less keeps all.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        threshold: float,
        min_diameter_mm: float,
        min_confidence: float,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.threshold = threshold
        self.min_diameter_mm = min_diameter_mm
        self.min_confidence = min_confidence

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            probability: MetaTensor = d[key]
            values = torch.as_tensor(probability[0]).cpu().numpy().copy()
            self._drop(values, float(np.abs(np.linalg.det(np.asarray(probability.affine)[:3, :3]))))
            d[key] = MetaTensor(
                torch.from_numpy(values[None]),
                meta=probability.meta,
                applied_operations=probability.applied_operations,
            )
        return d

    def _drop(self, probability: np.ndarray, voxel_mm3: float) -> None:
        """Work on an array (X, Y, Z) in place."""
        components, count = ndimage.label(probability >= self.threshold, structure=_EVERY_NEIGHBOUR)
        smallest_mm3 = np.pi / 6 * self.min_diameter_mm**3
        dropped = 0
        for index, box in enumerate(ndimage.find_objects(components), start=1):
            inside = components[box] == index
            values = probability[box]
            if inside.sum() * voxel_mm3 < smallest_mm3 or values[inside].max() < self.min_confidence:
                values[inside] = 0
                dropped += 1
        if dropped:
            logger.info("%d of %d findings left out: too small or too doubtful.", dropped, count)
