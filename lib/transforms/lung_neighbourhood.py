"""Findings far from the lungs are none: skin, bowel, liver."""

import logging
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import MapTransform

from lib.geometry.connected_components import cropped_components

logger = logging.getLogger(__name__)

_LEAST_SHARE = 1 / 3
_LARGE_MM = 30.0  # diameter of a ball of the same volume


class DropFarFromLungsd(MapTransform):
    """Set the probability of each candidate lesion to 0 that does not lie at the lungs.

    A candidate is a connected component (26 neighbours) of the probability at or over the threshold. It stays whole if
    a third of its voxels are near, or any of them where it is large: a large tumour reaches far from the air that is
    left, while bowel under the diaphragm touches the lungs from beside. What is dropped is logged. Where no lungs were
    found, everything stays.

    Args:
        keys: Probability of tumour in the network's field, shape (1, X, Y, D); changed in place.
        image_key: What the network saw, a MetaTensor of the same field; it tells the size of the voxels.
        lungs_key: What ``AxialFieldd`` leaves of the lungs: bool, the same field on a grid of its own, or None.
        threshold: Probability from which a voxel counts as tumour.
        reach_mm: How far from the lungs is near, along each axis.
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
        """Return the data without the candidates far from the lungs."""
        d = dict(data)
        lungs = d[self.lungs_key]
        if lungs is None:
            return d
        spacing = d[self.image_key].pixdim.tolist()
        for key in self.key_iterator(d):
            probability = torch.as_tensor(d[key])[0]
            inside = (probability >= self.threshold).cpu().numpy()
            window, components, count = cropped_components(inside)
            place = np.nonzero(components)
            candidates = components[place]
            near = candidates[self._near(lungs, inside.shape, spacing, window)[place]]
            voxels = np.bincount(candidates, minlength=count + 1)
            share = np.bincount(near, minlength=count + 1) / np.maximum(voxels, 1)
            large = voxels * np.prod(spacing[:3]) >= np.pi / 6 * _LARGE_MM**3
            keep = (share >= _LEAST_SHARE) | (large & (share > 0))
            keep[0] = True
            gone = tuple(torch.from_numpy(line[~keep[candidates]]).to(probability.device) for line in place)
            probability[window][gone] = 0
            if not keep.all():
                logger.info("%d of %d findings left out: far from the lungs.", (~keep).sum(), count)
        return d

    def _near(
        self, lungs: torch.Tensor, shape: tuple[int, ...], spacing: list[float], window: tuple[slice, ...]
    ) -> np.ndarray:
        """Whether the voxels of a window of the field are near the lungs."""
        coarse_mm = [n * length / m for n, length, m in zip(shape, spacing, lungs.shape, strict=True)]
        reach = [round(self.reach_mm / length) for length in coarse_mm]
        kernel = [2 * steps + 1 for steps in reach]
        grown = F.max_pool3d(lungs[None].float(), kernel, stride=1, padding=reach)[0] > 0
        columns = (
            np.arange(cut.start, cut.stop) * m // n for cut, n, m in zip(window, shape, lungs.shape, strict=True)
        )
        return grown.numpy()[np.ix_(*columns)]
