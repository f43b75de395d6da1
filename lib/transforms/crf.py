"""Fully connected CRF on each candidate lesion (paper eq. 10), with pydensecrf (Kraehenbuehl & Koltun 2011)."""

import logging
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from pydensecrf.densecrf import DenseCRF
from pydensecrf.utils import create_pairwise_bilateral, create_pairwise_gaussian, unary_from_softmax
from scipy import ndimage

from lib.geometry.boxes import widened
from lib.geometry.connected_components import cropped_components
from lib.transforms.stored_grid import Box, StoredProbability

logger = logging.getLogger(__name__)


class DenseCRFd(MapTransform):
    """Turn a probability into a mask, refined by a CRF in a box around each candidate lesion.

    A candidate is a connected component (26 neighbours) of the voxels with a probability of at least the threshold; its
    box includes a margin. Boxes are processed in ascending size; where they overlap, a voxel keeps the result of the
    first.

    No lesion is lost: if none of the voxels of a component reaches the threshold after refinement, all are restored.
    Time and memory are bounded: boxes are refined up to a total of ``max_voxels``, about 2 s and 250 MB per million;
    larger boxes keep the output of the network.

    Args:
        keys: Probability of tumour in the network's field, shape (1, X, Y, D), values in [0, 1]; becomes a mask on the
            grid of the loaded image, uint8 (X, Y, Z), on which it is refined.
        image_key: Input of the network, a MetaTensor of the same field.
        hu_key: CT in HU as it was loaded, shape (1, X, Y, Z).
        threshold: Smallest probability of a tumour voxel.
        margin_mm: Width of the margin around a component.
        gaussian_mm: Reach of the smoothness term (position only).
        gaussian_weight: Weight of the smoothness term.
        bilateral_mm: Reach in space of the appearance term.
        bilateral_hu: Reach in intensity of the appearance term, HU.
        bilateral_weight: Weight of the appearance term.
        iterations: Mean-field iterations.
        max_voxels: Voxels refined in one volume, all boxes together.
    """

    OPTIONS = (
        "margin_mm",
        "gaussian_mm",
        "gaussian_weight",
        "bilateral_mm",
        "bilateral_hu",
        "bilateral_weight",
        "iterations",
        "max_voxels",
    )

    def __init__(
        self,
        keys: KeysCollection,
        *,
        image_key: str,
        hu_key: str = "hu",
        threshold: float,
        margin_mm: float,
        gaussian_mm: float,
        gaussian_weight: float,
        bilateral_mm: float,
        bilateral_hu: float,
        bilateral_weight: float,
        iterations: int,
        max_voxels: int,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.hu_key = hu_key
        self.threshold = threshold
        self.margin_mm = margin_mm
        self.gaussian_mm = gaussian_mm
        self.gaussian_weight = gaussian_weight
        self.bilateral_mm = bilateral_mm
        self.bilateral_hu = bilateral_hu
        self.bilateral_weight = bilateral_weight
        self.iterations = iterations
        self.max_voxels = max_voxels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the probability by the refined mask."""
        d = dict(data)
        hu: MetaTensor = d[self.hu_key]
        spacing = np.array([float(length) for length in hu.pixdim])
        for key in self.key_iterator(d):
            probability = StoredProbability(d[key], d[self.image_key])
            mask = probability.mask(self.threshold, d["findings"])
            self.refine(mask, probability.boxes, hu.numpy()[0], spacing)
            d[key] = probability.as_mask(mask)
        return d

    def marginal(self, probability: np.ndarray, hu: np.ndarray, spacing: np.ndarray) -> np.ndarray:
        """Return the probability of tumour in one box after mean-field inference.

        Args:
            probability: Shape (X, Y, Z).
            hu: Same shape.
            spacing: Voxel size in mm.
        """
        crf = DenseCRF(probability.size, 2)
        crf.setUnaryEnergy(unary_from_softmax(np.stack([1 - probability, probability]).astype(np.float32)))
        smoothness = create_pairwise_gaussian(self.gaussian_mm / spacing, probability.shape)
        crf.addPairwiseEnergy(smoothness, compat=self.gaussian_weight)
        appearance = create_pairwise_bilateral(self.bilateral_mm / spacing, (self.bilateral_hu,), hu)
        crf.addPairwiseEnergy(appearance, compat=self.bilateral_weight)
        return np.array(crf.inference(self.iterations))[1].reshape(probability.shape)

    def refine(
        self, mask: np.ndarray, read: Callable[[list[Box]], list[np.ndarray]], hu: np.ndarray, spacing: np.ndarray
    ) -> None:
        """Refine a mask in place.

        Args:
            mask: Thresholded probability, uint8 (X, Y, Z).
            read: Returns the probability in each of a list of boxes.
            hu: Same shape, any type.
            spacing: Voxel size in mm.
        """
        window, components, _ = cropped_components(mask)
        margin = np.ceil(self.margin_mm / spacing).astype(int)
        within = ndimage.find_objects(components)
        tight = [_moved(box, window) for box in within]
        boxes = self._affordable([widened(box, margin, mask.shape) for box in tight])
        done = np.zeros(mask.shape, bool)
        for box, probability in zip(boxes, read(boxes), strict=True):
            marginal = self.marginal(probability, hu[box].astype(np.float32), spacing)
            mask[box] = np.where(done[box], mask[box], marginal >= self.threshold)
            done[box] = True
        for index, box in enumerate(tight, start=1):
            lesion = components[within[index - 1]] == index
            if not mask[box][lesion].any():
                mask[box][lesion] = 1
                logger.info("The CRF removed a lesion of %d voxels; kept the network's outline.", lesion.sum())

    def _affordable(self, boxes: list[Box]) -> list[Box]:
        """Return the boxes within the budget, in ascending size."""
        chosen: list[Box] = []
        budget = self.max_voxels
        for box in sorted(boxes, key=_volume):
            budget -= _volume(box)
            if budget < 0:
                left = len(boxes) - len(chosen)
                logger.warning("CRF skipped for the %d largest of %d candidate lesions.", left, len(boxes))
                break
            chosen.append(box)
        return chosen


def _moved(box: tuple[slice, ...], window: tuple[slice, ...]) -> Box:
    """Convert a box within a window to a box of the whole volume."""
    x, y, z = (
        slice(side.start + whole.start, side.stop + whole.start) for side, whole in zip(box, window, strict=True)
    )
    return x, y, z


def _volume(box: tuple[slice, ...]) -> int:
    return int(np.prod([side.stop - side.start for side in box]))
