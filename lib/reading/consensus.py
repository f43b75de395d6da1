"""One label from the labels of several readers: by majority or by STAPLE, or the mean of the readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum

import numpy as np
import SimpleITK as sitk

from lib.evaluation.reader_lesions import match_reader_lesions
from lib.transforms.reader_mean import consensus

_MARGIN_MM = 10.0  # of background around a lesion, from which STAPLE estimates the specificity of each reader
_STAPLE_THRESHOLD = 0.5


class ConsensusMethod(str, Enum):
    """How the labels of the readers become one."""

    MAJORITY = "majority"
    STAPLE = "staple"


def mean_of_readers(masks: np.ndarray) -> np.ndarray:
    """Return the share of the readers who marked each voxel: a soft target for training.

    Args:
        masks: Mask of each reader, shape (readers, X, Y, Z), bool; one or more readers.

    Returns:
        Shape (X, Y, Z), float32, 0 to 1.
    """
    return masks.mean(axis=0, dtype=np.float32)


def majority(masks: np.ndarray) -> np.ndarray:
    """Return the voxels that at least half of the readers marked, shape (X, Y, Z), bool.

    SimpleITK's LabelVoting returns the same where 1 is its label of undecided voxels.

    Args:
        masks: Mask of each reader, shape (readers, X, Y, Z), bool; one or more readers.
    """
    return consensus(mean_of_readers(masks))


def staple(masks: np.ndarray) -> np.ndarray:
    """Return the probability of each voxel by STAPLE (Warfield et al. 2004), shape (X, Y, Z), as SimpleITK has it.

    The probability of a voxel before any reader is the share of marked voxels, so that the result depends on how much
    background there is; see `staple_by_lesion`.

    Args:
        masks: Mask of each reader, shape (readers, X, Y, Z), bool; two or more readers.
    """
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks]
    return sitk.GetArrayFromImage(sitk.STAPLE(images, 1.0))


def staple_by_lesion(masks: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Return the voxels with a probability of at least a half by STAPLE, estimated for each lesion on its own.

    A reader may be good at one lesion and bad at another, and a whole chest is nearly all background. Each lesion is
    judged in its bounding box with 10 mm of background around it.

    Args:
        masks: Mask of each reader, shape (readers, X, Y, Z), bool; two or more readers.
        spacing: Voxel spacing along each axis in mm.

    Returns:
        Shape (X, Y, Z), bool.
    """
    agreed = np.zeros(masks.shape[1:], bool)
    margins = [int(np.ceil(_MARGIN_MM / mm)) for mm in spacing]
    for lesion in match_reader_lesions([*masks]):
        before = [min(margin, side.start) for margin, side in zip(margins, lesion.window, strict=True)]
        after = [
            min(margin, length - side.stop)
            for margin, side, length in zip(margins, lesion.window, agreed.shape, strict=True)
        ]
        around = np.pad(lesion.masks, [(0, 0), *zip(before, after, strict=True)])
        inside = tuple(slice(low, low + length) for low, length in zip(before, lesion.masks.shape[1:], strict=True))
        agreed[lesion.window] |= staple(around)[inside] >= _STAPLE_THRESHOLD
    return agreed


def consensus_label(masks: np.ndarray, spacing: Sequence[float], method: ConsensusMethod) -> np.ndarray:
    """Return the consensus of the readers, shape (X, Y, Z), bool; of a single reader what that reader marked.

    Args:
        masks: Mask of each reader, shape (readers, X, Y, Z), bool; one or more readers.
        spacing: Voxel spacing along each axis in mm.
        method: How the labels become one.
    """
    methods: Mapping[ConsensusMethod, Callable[[], np.ndarray]] = {
        ConsensusMethod.MAJORITY: lambda: majority(masks),
        ConsensusMethod.STAPLE: lambda: staple_by_lesion(masks, spacing),
    }
    return masks[0] if len(masks) == 1 else methods[method]()
