"""Removal of candidate lesions far from the lungs, such as in skin, bowel or liver."""

import logging
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from scipy import ndimage

from lib.transforms.candidates import Candidates

logger = logging.getLogger(__name__)

_MIN_SHARE = 1 / 3
_LARGE_MM = 30.0  # equivalent spherical diameter


class DropFarFromLungsd(MapTransform):
    """Set the probability of candidate lesions to 0 that are not near the lungs.

    A candidate is a connected component (26 neighbours) of the voxels with a probability of at least the threshold. It
    is kept as a whole if a third of its voxels are near the lungs, or any voxel of a large candidate: a large tumour
    extends far from the remaining air, while bowel below the diaphragm only touches the lungs. Removals are logged.
    Where no lungs were found, everything is kept.

    Args:
        keys: Probability of tumour in the network's field, shape (1, X, Y, D); changed in place.
        image_key: Input of the network, a MetaTensor of the same field, for the voxel size.
        lungs_key: Lung mask of ``AxialFieldd``: bool, the same field on a coarser grid, or None.
        threshold: Probability from which a voxel counts as tumour.
        reach_mm: Largest distance from the lungs that counts as near, along each axis.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        image_key: str,
        lungs_key: str = "lungs",
        threshold: float,
        reach_mm: float,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.lungs_key = lungs_key
        self.threshold = threshold
        self.reach_mm = reach_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Set the probability of the removed candidates to 0, in place."""
        d = dict(data)
        lungs = d[self.lungs_key]
        if lungs is None:
            return d
        spacing = d[self.image_key].pixdim.tolist()
        for key in self.key_iterator(d):
            probability = torch.as_tensor(d[key])[0].cpu()  # no copy on the CPU, where the logits are
            candidates = Candidates.of(probability.numpy(), self.threshold, d[self.image_key].affine)
            share = candidates.shares(self._near(lungs, probability.shape, spacing, candidates.window))
            large = candidates.volumes_mm3 >= np.pi / 6 * _LARGE_MM**3
            kept = candidates.without(~((share >= _MIN_SHARE) | (large & (share > 0))))
            d[key][0] = probability
            if kept.count < candidates.count:
                removed = candidates.count - kept.count
                logger.info("Removed %d of %d findings: far from the lungs.", removed, candidates.count)
        return d

    def _near(
        self, lungs: torch.Tensor, shape: tuple[int, ...], spacing: list[float], window: tuple[slice, ...]
    ) -> np.ndarray:
        """Return which voxels of a window of the field are near the lungs, bool."""
        coarse_mm = [n * length / m for n, length, m in zip(shape, spacing, lungs.shape, strict=True)]
        reach = [round(self.reach_mm / length) for length in coarse_mm]
        sides = [2 * steps + 1 for steps in reach]
        grown = ndimage.maximum_filter(lungs.numpy(), sides, mode="constant")
        columns = (
            np.arange(cut.start, cut.stop) * m // n for cut, n, m in zip(window, shape, lungs.shape, strict=True)
        )
        return grown[np.ix_(*columns)]
