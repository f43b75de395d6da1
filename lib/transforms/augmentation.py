"""Random training patches of labelled volumes."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from monai.transforms import (
    CastToTyped,
    ClassesToIndicesd,
    CopyItemsd,
    DeleteItemsd,
    Lambdad,
    RandCropByLabelClassesd,
    RandFlipd,
    RandGaussianNoised,
    RandLambdad,
    RandScaleIntensityd,
    RandShiftIntensityd,
    SelectItemsd,
    SqueezeDimd,
)

from lib.transforms.adjacent_slices import is_symmetric
from lib.transforms.reader_mean import consensus

_AGREED = "agreed"  # key of what at least half of the readers marked
_KEPT_VOXELS = 20_000  # candidate patch centres per class (tumour, background), evenly spread


def patch_transforms(
    preprocessing: Mapping[str, Any],
    *,
    patch_size: int,
    count: int,
    keys: Sequence[str] = ("image", "label"),
    soft: bool = False,
) -> list:
    """Return the transforms that follow ``image_transforms`` and make ``count`` patches of each volume.

    Half of the patches are centred on tumour, half on background; without tumour, all are centred on background. The
    output is a list of (C, patch_size, patch_size) from (C, 256, 256, D). Patches are flipped left-right, because a
    tumour looks the same in either lung, and head-feet if the adjacent slices are symmetric.

    Intensity is varied on the HU scale: shift up to 50 HU, contrast up to 10 %, noise up to 30 HU.

    Args:
        preprocessing: Section ``preprocessing`` of info.yaml.
        patch_size: Side of the square patch in pixels.
        count: Patches per volume.
        keys: Image and label.
        soft: Whether labels are shares of several readers; tumour is then what at least half of them marked.
    """
    image, label = keys
    hu = 1 / preprocessing["hu_std"] if preprocessing["normalise"] == "dataset" else 1 / 400
    flip_probability = 0.5 if is_symmetric(preprocessing["slice_offsets_mm"]) else 0.0
    return [
        # CacheDataset caches up to the first random transform: half precision halves the memory, at steps of 0.4 HU.
        CopyItemsd(keys=label, names=_AGREED),
        Lambdad(keys=_AGREED, func=consensus),
        ClassesToIndicesd(keys=_AGREED, num_classes=2, max_samples_per_class=_KEPT_VOXELS),
        DeleteItemsd(keys=_AGREED),
        CastToTyped(keys=keys, dtype=(torch.float16, torch.float16 if soft else torch.uint8)),
        RandCropByLabelClassesd(
            keys=keys,
            label_key=label,
            indices_key=f"{_AGREED}_cls_indices",
            spatial_size=(patch_size, patch_size, 1),
            ratios=[1, 1],
            num_classes=2,
            num_samples=count,
            warn=False,
        ),
        SelectItemsd(keys=keys),
        SqueezeDimd(keys=keys, dim=-1),
        CastToTyped(keys=keys, dtype=torch.float32),
        RandFlipd(keys=keys, prob=0.5, spatial_axis=0),
        RandFlipd(keys=keys, prob=0.5, spatial_axis=1),
        RandLambdad(keys=image, func=partial(torch.flip, dims=[0]), prob=flip_probability),
        RandScaleIntensityd(keys=image, factors=0.1, prob=0.5),
        RandShiftIntensityd(keys=image, offsets=50 * hu, prob=0.5),
        RandGaussianNoised(keys=image, std=30 * hu, prob=0.3),
    ]
