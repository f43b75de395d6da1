"""From the outlines of several readers to the share of them that marked each voxel, and to their consensus."""

from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

_Share = TypeVar("_Share", np.ndarray, torch.Tensor)


def consensus(share: _Share) -> _Share:
    """Return the voxels that at least half of the readers marked, bool, of the same shape.

    Args:
        share: Share of the readers who marked each voxel; 0 or 1 (or a label value above 1) of a single mask.
    """
    return share >= 0.5


class MeanOfReadersd(MapTransform):
    """Average the masks of several readers, which a NIfTI file holds along its fourth axis.

    A mask of shape (1, X, Y, Z, readers) becomes (1, X, Y, Z), float32, 0 to 1: the share of the readers who marked a
    voxel, see :func:`consensus`. An empty channel is no reader: files are padded with them to the same number of
    readers. A mask without the last axis is left as it is.

    Args:
        keys: Masks as loaded, with a channel axis.
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys, allow_missing_keys=False)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with the averaged masks."""
        d = dict(data)
        for key in self.key_iterator(d):
            if d[key].ndim == 5:
                marked = (d[key] > 0).float()
                readers = marked.flatten(end_dim=-2).any(dim=0).sum().clamp(min=1)
                d[key] = marked.sum(dim=-1) / int(readers)
        return d
