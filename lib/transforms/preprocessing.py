"""From a volume on disk to what the network sees: written once, for training and inference."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from monai.transforms import (
    CopyItemsd,
    EnsureChannelFirstd,
    Lambdad,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    Resized,
)

from lib.transforms.adjacent_slices import AdjacentSlicesd
from lib.transforms.axial_field import AxialFieldd
from lib.transforms.straight_grid import StraightGridd
from lib.transforms.voxel_order import ContiguousNrrdReader

# Each LoadImaged would warn that a GPU codec for DICOM is missing, which is not used here.
logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)

_AXES = "LPS"  # axial slices along the last axis, as a radiologist reads them; closest canonical, not resampled
_AXIS_LABELS = (("L", "R"), ("P", "A"), ("I", "S"))  # MONAI's affines are RAS whatever the file said


def image_transforms(preprocessing: Mapping[str, Any], keys: Sequence[str] = ("image",), keep_hu: bool = False) -> list:
    """Transforms of the paper's pipeline: HU clip, normalise (eq. 1), 256x256.

    ``data[keys[0]]`` goes from a path (.nrrd, .nii, .nii.gz; HU; any orientation, tilted or with gaps) to a
    MetaTensor of shape (len(slice_offsets_mm), 256, 256, D), axes L, P, S. Further keys are masks: they get the same
    geometry by nearest neighbour, shape (1, 256, 256, D). ``data["lung_slices"]`` is the range of slices with lung.

    The geometry is undone by ``mask_transforms``, which needs this very list: MONAI finds its way back by the
    identity of each transform.

    Args:
        preprocessing: Section ``preprocessing`` of info.yaml.
        keys: The image, then masks.
        keep_hu: Keep the loaded volume, (1, X, Y, Z) in HU on its own grid, as ``data["hu"]``. The CRF needs
            it.
    """
    image, *masks = keys
    low, high = preprocessing["hu_window"]
    if not low < high:
        raise ValueError(f"hu_window is [lower, upper] in HU, got {preprocessing['hu_window']}.")
    size = tuple(preprocessing["size"])
    transforms = [
        _load(keys),
        EnsureChannelFirstd(keys=keys, channel_dim="no_channel"),
        StraightGridd(keys=keys, air=low),
        Orientationd(keys=keys, axcodes=_AXES, labels=_AXIS_LABELS),
        Lambdad(keys=image, func=partial(torch.clamp, min=low, max=high)),
        AxialFieldd(keys=keys, field_mm=preprocessing["field_mm"], mode=preprocessing["field"], air=low),
        _normalise(image, preprocessing),
        Resized(keys=keys, spatial_size=(*size, -1), mode=["trilinear"] + ["nearest-exact"] * len(masks)),
        AdjacentSlicesd(keys=image, offsets_mm=preprocessing["slice_offsets_mm"]),
    ]
    if keep_hu:
        transforms.insert(2, CopyItemsd(keys=image, names="hu"))
    return transforms


def _load(keys: Sequence[str]) -> LoadImaged:
    """MONAI's readers, but a faster one for what the server reads."""
    load = LoadImaged(keys=keys, dtype=np.float32, image_only=True)
    load.register(ContiguousNrrdReader())
    return load


def _normalise(image: str, preprocessing: Mapping[str, Any]) -> NormalizeIntensityd:
    """Eq. 1 with the data set's mean and deviation, or with the scan's own."""
    match preprocessing["normalise"]:
        case "dataset":
            return NormalizeIntensityd(keys=image, subtrahend=preprocessing["hu_mean"], divisor=preprocessing["hu_std"])
        case "scan":
            return NormalizeIntensityd(keys=image)
        case other:
            raise ValueError(f"preprocessing: normalise is 'dataset' or 'scan', not {other!r}.")
