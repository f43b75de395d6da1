"""Resampling of the probability from the network's field to the grid of the loaded image, and thresholding."""

import logging
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from lib.geometry.field_geometry import FieldGeometry
from lib.transforms.axial_field import field_of

logger = logging.getLogger(__name__)

_BLOCK = 32  # slices

Box = tuple[slice, slice, slice]

FieldFinding = tuple[np.ndarray, float | None]
"""Voxels of a finding in the network's field, (n, 3), the most probable first; and its confidence."""


class StoredProbability:
    """The probability on the grid of the loaded image, resampled in blocks, since as float32 it may need gigabytes.

    Args:
        probability: In the network's field, shape (1, X, Y, D).
        image: Input of the network, a MetaTensor with the trace of its transforms; its voxels are not used.
    """

    def __init__(self, probability: torch.Tensor, image: MetaTensor) -> None:
        self._probability = probability
        self._image = image
        self._field = field_of(image)
        self.shape = self._field.slices.stored_shape

    def blocks(self) -> Iterator[tuple[Box, np.ndarray]]:
        """Yield windows that cover the grid, and the probability (X, Y, Z) in each."""
        for window, values in self._field.restore(torch.as_tensor(self._probability).cpu(), _BLOCK):
            yield window, values[0]

    def boxes(self, boxes: Sequence[Box]) -> list[np.ndarray]:
        """Return the probability in each box of the grid; boxes need a start and a stop along every axis."""
        found = [np.empty([side.stop - side.start for side in box], np.float32) for box in boxes]
        for window, values in self.blocks():
            low = [side.start or 0 for side in window]
            high = [start + length for start, length in zip(low, values.shape, strict=True)]
            for box, part in zip(boxes, found, strict=True):
                both = [
                    slice(max(side.start, first), min(side.stop, last))
                    for side, first, last in zip(box, low, high, strict=True)
                ]
                if all(side.start < side.stop for side in both):
                    of = tuple(slice(side.start - n, side.stop - n) for side, n in zip(both, low, strict=True))
                    to = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(both, box, strict=True))
                    part[to] = values[of]
        return found

    def mask(self, threshold: float, findings: Iterable[FieldFinding] = ()) -> np.ndarray:
        """Return the thresholded probability, uint8 (X, Y, Z).

        No finding with a confidence is lost: if none of its voxels reaches the threshold on this grid, all are marked.

        Args:
            threshold: Smallest probability of a tumour voxel.
            findings: Findings of the network's field.
        """
        mask = np.empty(self.shape, np.uint8, order="F")  # as in the file
        for window, values in self.blocks():
            mask[window] = values >= threshold
        for voxels, _ in (one for one in findings if one[1] is not None):
            places = places_of(voxels, mask, self._field)
            in_image = tuple(places[_inside(places, mask)].T)
            if len(in_image[0]) and not mask[in_image].any():
                mask[in_image] = 1
                logger.info("Resampling removed a finding of %d voxels; kept those of the network.", len(voxels))
        return mask

    def as_mask(self, mask: np.ndarray) -> MetaTensor:
        """Return a mask of the grid as a MetaTensor with the affine of the loaded image."""
        affine = torch.tensor(self._field.slices.stored_affine, dtype=torch.float64)
        return MetaTensor(torch.from_numpy(mask), meta=dict(self._image.meta) | {"affine": affine})


class StoredMaskd(MapTransform):
    """Turn the probability in the network's field into a mask on the grid of the loaded image.

    The probability is resampled linearly and then thresholded, so that the outline has the resolution of the image.

    Args:
        keys: Probability of tumour in the network's field, shape (1, X, Y, D); becomes uint8, (X, Y, Z).
        image_key: Input of the network, a MetaTensor of the same field.
        threshold: Smallest probability of a tumour voxel.
    """

    def __init__(
        self, keys: KeysCollection, *, image_key: str, threshold: float, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.threshold = threshold

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the probability by the mask."""
        d = dict(data)
        for key in self.key_iterator(d):
            probability = StoredProbability(d[key], d[self.image_key])
            d[key] = probability.as_mask(probability.mask(self.threshold, d["findings"]))
        return d


def places_of(voxels: np.ndarray, mask: np.ndarray, field: FieldGeometry) -> np.ndarray:
    """Return the voxels of a mask on the stored grid that voxels of the field are at; padding is outside the mask.

    These are the nearest; if none of them is marked, all that the voxels of the field cover.
    """
    places = field.stored_indices(voxels)
    if values_at(places, mask).any():
        return places
    return field.covered_indices(voxels)


def values_at(places: np.ndarray, array: np.ndarray) -> np.ndarray:
    """Return the value of an array at each place (n, 3); 0 outside it."""
    values = np.zeros(len(places), array.dtype)
    inside = _inside(places, array)
    values[inside] = array[tuple(places[inside].T)]
    return values


def _inside(places: np.ndarray, array: np.ndarray) -> np.ndarray:
    return ((places >= 0) & (places < array.shape)).all(axis=1)
