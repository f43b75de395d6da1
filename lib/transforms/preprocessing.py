"""From a volume on disk to what the network sees: written once, for training and inference."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from monai.transforms import EnsureChannelFirstd, LoadImaged

from lib.transforms.adjacent_slices import AdjacentSlicesd
from lib.transforms.axial_field import AxialFieldd
from lib.transforms.voxel_order import ContiguousNrrdReader

# Each LoadImaged would warn that a GPU codec for DICOM is missing, which is not used here.
logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)


def image_transforms(
    preprocessing: Mapping[str, Any],
    keys: Sequence[str] = ("image",),
    *,
    keep_hu: bool = False,
    neighbours: bool = True,
) -> list:
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
        neighbours: Without, ``data[keys[0]]`` has one channel, (1, 256, 256, D): ``AdjacentSlicesd`` is then run on a
            few slices at a time by ``infer_slices``, because all channels of a long scan would fill the memory.
    """
    image = keys[0]
    low, high = preprocessing["hu_window"]
    if not low < high:
        raise ValueError(f"hu_window is [lower, upper] in HU, got {preprocessing['hu_window']}.")
    return [
        _load(keys),
        EnsureChannelFirstd(keys=keys, channel_dim="no_channel"),
        AxialFieldd(
            keys=keys,
            field_mm=preprocessing["field_mm"],
            mode=preprocessing["field"],
            hu_window=(low, high),
            normalise=_normalise(preprocessing),
            size=preprocessing["size"],
            hu_key="hu" if keep_hu else None,
        ),
        *([AdjacentSlicesd(keys=image, offsets_mm=preprocessing["slice_offsets_mm"])] if neighbours else []),
    ]


def _load(keys: Sequence[str]) -> LoadImaged:
    """MONAI's readers, but a faster one for what the server reads."""
    load = LoadImaged(keys=keys, dtype=None, image_only=True)
    load.register(ContiguousNrrdReader())
    return load


def _normalise(preprocessing: Mapping[str, Any]) -> tuple[float, float] | None:
    """Mean and deviation of eq. 1: the data set's; None for the scan's own."""
    match preprocessing["normalise"]:
        case "dataset":
            return preprocessing["hu_mean"], preprocessing["hu_std"]
        case "scan":
            return None
        case other:
            raise ValueError(f"preprocessing: normalise is 'dataset' or 'scan', not {other!r}.")
