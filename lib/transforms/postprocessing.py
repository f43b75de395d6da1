"""From the network's logits to a mask on the grid of the image that was loaded."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.transforms import Activationsd, AsDiscreted, Compose, Invertd, SqueezeDimd

from lib.transforms.component_filter import DropDoubtfuld
from lib.transforms.crf import DenseCRFd
from lib.transforms.lung_neighbourhood import DropFarFromLungsd

_REACH_MM = 5.0  # a finding that stays farther from the lungs than this is none of theirs


def mask_transforms(
    infer_config: Mapping[str, Any], image_transforms: Compose | Sequence, image_key: str = "image"
) -> list:
    """Transforms from ``data["pred"]``, logits (1, 256, 256, D), to a mask (X, Y, Z) on the original grid.

    The probability, not the mask, is brought back, linearly: the outline is then as fine as the image's own
    pixels. The result is a uint8 MetaTensor with exactly the shape and affine of the loaded image.

    Args:
        infer_config: Section ``config.infer`` of info.yaml, changed by the request where it is:
            ``threshold``, ``min_diameter_mm``, ``min_confidence``, ``max_elongation``, ``crf`` and, where that is on,
            the ``crf_*`` values.
        image_transforms: The very transforms that made ``data[image_key]``. With ``crf`` they must have been
            made with ``keep_hu=True``.
        image_key: The image that the network saw, with its trace of transforms.
    """
    threshold = infer_config["threshold"]
    if not 0 < threshold < 1:
        raise ValueError(f"threshold is a probability between 0 and 1, got {threshold}.")
    forward = image_transforms if isinstance(image_transforms, Compose) else Compose(list(image_transforms))
    transforms = [
        Activationsd(keys="pred", sigmoid=True),
        DropFarFromLungsd(keys="pred", image_key=image_key, threshold=threshold, reach_mm=_REACH_MM),
        DropDoubtfuld(
            keys="pred",
            image_key=image_key,
            threshold=threshold,
            min_diameter_mm=infer_config["min_diameter_mm"],
            min_confidence=infer_config["min_confidence"],
            max_elongation=infer_config["max_elongation"],
        ),
        Invertd(keys="pred", transform=forward, orig_keys=image_key, nearest_interp=False),
    ]
    if infer_config["crf"]:
        options = {name: infer_config[f"crf_{name}"] for name in DenseCRFd.OPTIONS}
        transforms.append(DenseCRFd(keys="pred", image_key="hu", threshold=threshold, **options))
    return [
        *transforms,
        AsDiscreted(keys="pred", threshold=threshold, dtype=torch.uint8),
        SqueezeDimd(keys="pred", dim=0),
    ]
