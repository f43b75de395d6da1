"""Postprocessing: from the logits of the network to a mask on the grid of the loaded image."""

from collections.abc import Mapping
from typing import Any

from monai.transforms import Activationsd

from lib.transforms.candidate_filter import Judge, JudgeCandidatesd
from lib.transforms.crf import DenseCRFd
from lib.transforms.lung_neighbourhood import DropFarFromLungsd
from lib.transforms.stored_findings import StoredFindingsd
from lib.transforms.stored_grid import StoredMaskd

REACH_MM = 5.0  # findings farther from the lungs than this are removed


def mask_transforms(
    infer_config: Mapping[str, Any],
    image_key: str = "image",
    *,
    judge: Judge | None = None,
    min_confidence: float = 0.0,
) -> list:
    """Return the transforms from ``data["pred"]``, logits (1, 256, 256, D), to a mask (X, Y, Z) on the image grid.

    The result is a uint8 MetaTensor with exactly the shape and affine of the loaded image; ``data["findings"]`` has a
    voxel and the confidence of each of its components.

    Args:
        infer_config: Section ``config.infer`` of info.yaml with the overrides of the request: ``threshold``,
            ``min_diameter_mm``, ``crf``, and with it the ``crf_*`` values.
        image_key: Input of the network with its trace of transforms, which ``crf`` requires to be made with
            ``keep_hu=True``.
        judge: Second stage, which gives each candidate a confidence; None keeps all.
        min_confidence: Smallest confidence that is kept.
    """
    threshold = infer_config["threshold"]
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must be a probability between 0 and 1, got {threshold}.")
    transforms = [
        Activationsd(keys="pred", sigmoid=True),
        DropFarFromLungsd(keys="pred", image_key=image_key, threshold=threshold, reach_mm=REACH_MM),
        JudgeCandidatesd(
            keys="pred",
            image_key=image_key,
            threshold=threshold,
            min_diameter_mm=infer_config["min_diameter_mm"],
            judge=judge,
            min_confidence=min_confidence,
        ),
    ]
    stored_findings = StoredFindingsd(keys="pred", image_key=image_key)
    if infer_config["crf"]:
        options = {name: infer_config[f"crf_{name}"] for name in DenseCRFd.OPTIONS}
        return [
            *transforms,
            DenseCRFd(keys="pred", image_key=image_key, threshold=threshold, **options),
            stored_findings,
        ]
    return [*transforms, StoredMaskd(keys="pred", image_key=image_key, threshold=threshold), stored_findings]
