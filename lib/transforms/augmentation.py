"""Random patches of labelled volumes, for training."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from monai.transforms import (
    CastToTyped,
    ClassesToIndicesd,
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

_KEPT_VOXELS = 20_000  # of tumour and of the rest, spread evenly, from which patch centres are drawn


def patch_transforms(
    preprocessing: Mapping[str, Any], *, patch_size: int, count: int, keys: Sequence[str] = ("image", "label")
) -> list:
    """Transforms to follow ``image_transforms``: each volume gives ``count`` patches.

    Half of the patches are centred on tumour, half anywhere else; where there is no tumour, all of them are.
    From (C, 256, 256, D) to a list of (C, patch_size, patch_size). Left and right are flipped too: a tumour
    looks the same in either lung; so are head and feet where the slices that are channels lie alike above and below.

    Intensity varies in steps that mean something in HU: shift up to 50 HU, contrast up to 10 %, noise up to
    30 HU.

    Args:
        preprocessing: Section of info.yaml.
        patch_size: Side of the square patch in pixels.
        count: Patches of one volume.
        keys: Image and label.
    """
    image, label = keys
    hu = 1 / preprocessing["hu_std"] if preprocessing["normalise"] == "dataset" else 1 / 400
    turned_over = 0.5 if is_symmetric(preprocessing["slice_offsets_mm"]) else 0.0
    return [
        # A data set keeps in memory what stands up to here: half precision halves it, at steps of 0.4 HU.
        CastToTyped(keys=keys, dtype=(torch.float16, torch.uint8)),
        ClassesToIndicesd(keys=label, num_classes=2, max_samples_per_class=_KEPT_VOXELS),
        RandCropByLabelClassesd(
            keys=keys,
            label_key=label,
            indices_key=f"{label}_cls_indices",
            spatial_size=(patch_size, patch_size, 1),
            ratios=(1, 1),
            num_classes=2,
            num_samples=count,
            warn=False,
        ),
        SelectItemsd(keys=keys),
        SqueezeDimd(keys=keys, dim=-1),
        CastToTyped(keys=keys, dtype=torch.float32),
        RandFlipd(keys=keys, prob=0.5, spatial_axis=0),
        RandFlipd(keys=keys, prob=0.5, spatial_axis=1),
        RandLambdad(keys=image, func=partial(torch.flip, dims=[0]), prob=turned_over),
        RandScaleIntensityd(keys=image, factors=0.1, prob=0.5),
        RandShiftIntensityd(keys=image, offsets=50 * hu, prob=0.5),
        RandGaussianNoised(keys=image, std=30 * hu, prob=0.3),
    ]
