"""Preprocessing: from a volume on disk to the input of the network, shared by training and inference."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from monai.transforms import EnsureChannelFirstd, LoadImaged

from lib.transforms.adjacent_slices import AdjacentSlicesd
from lib.transforms.axial_field import AxialFieldd
from lib.transforms.reader_mean import MeanOfReadersd
from lib.transforms.stored_order import StoredOrderNrrdReader

# Every LoadImaged logs and warns that a GPU codec for DICOM is missing, which is not used here.
logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")


def image_transforms(
    preprocessing: Mapping[str, Any],
    keys: Sequence[str] = ("image",),
    *,
    keep_hu: bool = False,
    neighbours: bool = True,
) -> list:
    """Return the transforms of the paper's pipeline: clip HU, normalise (eq. 1), resample to 256x256.

    ``data[keys[0]]`` goes from a path (.nrrd, .nii, .nii.gz; HU; any orientation, tilted or with gaps) to a
    MetaTensor of shape (len(slice_offsets_mm), 256, 256, D), axes L, P, S. Further keys are masks, of one reader or
    of several along a fourth axis, of which the mean is taken: they get the same geometry by nearest neighbour, shape
    (1, 256, 256, D). ``data["lung_slices"]`` is the range of slices with lung.

    ``mask_transforms`` inverts the geometry and needs the same list, because MONAI inverts transforms by identity.

    Args:
        preprocessing: Section ``preprocessing`` of info.yaml.
        keys: The image, then masks.
        keep_hu: Keep the loaded volume, (1, X, Y, Z) in HU on its own grid, as ``data["hu"]``, for the CRF.
        neighbours: If False, ``data[keys[0]]`` has one channel, (1, 256, 256, D), and ``infer_slices`` makes the
            channels of adjacent slices for a few slices at a time, because those of a long scan would fill the memory.
    """
    image = keys[0]
    low, high = preprocessing["hu_window"]
    if not low < high:
        raise ValueError(f"hu_window must be [lower, upper] in HU, got {preprocessing['hu_window']}.")
    return [
        _load(keys),
        EnsureChannelFirstd(keys=keys, channel_dim="no_channel"),
        *([MeanOfReadersd(keys[1:])] if len(keys) > 1 else []),
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
    """Return MONAI's loader with a faster reader for the files that the server reads."""
    load = LoadImaged(keys=keys, dtype=None, image_only=True)
    load.register(StoredOrderNrrdReader())
    return load


def _normalise(preprocessing: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return mean and standard deviation of eq. 1 of the data set; None to use those of each scan."""
    match preprocessing["normalise"]:
        case "dataset":
            return preprocessing["hu_mean"], preprocessing["hu_std"]
        case "scan":
            return None
        case other:
            raise ValueError(f"preprocessing: normalise must be 'dataset' or 'scan', not {other!r}.")
