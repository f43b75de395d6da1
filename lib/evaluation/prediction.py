"""Masks of a model for image files, by the very transforms of the server, without the server."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose

from lib.networks import AttentionResidualUNet
from lib.networks.slice_inference import infer_slices
from lib.networks.weights import check_finite, load_weights
from lib.transforms import image_transforms, mask_transforms
from lib.transforms.adjacent_slices import in_slices


class Predictor:
    """A network with its weights, from image file to mask.

    Args:
        weights: File with a ``state_dict``, by itself or under ``model``.
        info: info.yaml; its ``network`` must be the one that was trained.
    """

    def __init__(self, weights: Path, info: Mapping[str, Any]) -> None:
        self._preprocessing = info["preprocessing"]
        self._options = dict(info["config"]["infer"])
        self.hu_std = float(info["preprocessing"]["hu_std"])  # HU in one unit of what the network sees
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = AttentionResidualUNet(**info["network"])
        load_weights(self._network, weights)
        self._network.eval().to(self._device, memory_format=torch.channels_last)

    @property
    def min_confidence(self) -> float:
        """Mean probability that a finding in a whole scan must have."""
        return self._options["min_confidence"]

    def __call__(self, image: Path, change: Callable[[torch.Tensor], torch.Tensor] | None = None) -> np.ndarray:
        """Mask of one volume on its own grid.

        Args:
            image: .nrrd, .nii or .nii.gz, in HU.
            change: Applied to what the network sees, (C, 256, 256, D), normalised; for tests of robustness.

        Returns:
            uint8, shape (X, Y, Z) as stored.
        """
        (mask,) = self.at_confidences(image, [self.min_confidence], change)
        return mask

    def at_confidences(
        self, image: Path, confidences: Sequence[float], change: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> list[np.ndarray]:
        """A mask, as above, for each ``min_confidence``, from one run of the network."""
        whole = change is not None  # it works on all channels of the whole volume
        transforms = image_transforms(self._preprocessing, keep_hu=self._options["crf"], neighbours=whole)
        data = Compose(transforms)({"image": image})
        volume = data["image"].as_tensor()
        data["pred"], _ = infer_slices(
            self._network,
            change(volume) if change else volume,
            data["lung_slices"],
            self._options["batch_size"],
            offsets=None if whole else in_slices(self._preprocessing["slice_offsets_mm"], data["image"]),
            views=self._options["views"],
        )
        check_finite(data["pred"], "the network")
        options = (self._options | {"min_confidence": confidence} for confidence in confidences)
        return [np.asarray(Compose(mask_transforms(one))(dict(data))["pred"]) for one in options]
