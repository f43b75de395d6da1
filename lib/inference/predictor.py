"""The predictor: from weights and a volume to a mask on the volume's own grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from torch import nn

from lib.inference.finite import check_finite
from lib.inference.model_description import ModelDescription
from lib.inference.slice_inference import BeforePass, infer_slices, no_wait
from lib.inference.weights_source import WeightsFile, WeightsId, WeightsSource
from lib.settings import InferenceOptions
from lib.transforms import image_transforms, mask_transforms
from lib.transforms.adjacent_slices import in_slices

Change = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class LoadedNetwork:
    """A network on a device, in evaluation mode, and which weights it has."""

    network: nn.Module
    weights: WeightsId


@dataclass(frozen=True)
class NetworkOutput:
    """What the network makes of a volume, in the field that it sees.

    Attributes:
        logits: Shape (1, 256, 256, D), on the CPU, finite.
        attention: Coefficients in [0, 1] of the finest attention gate (eq. 6), same shape; None unless asked for.
        weights: Which weights the network had.
    """

    logits: torch.Tensor
    attention: torch.Tensor | None
    weights: WeightsId


class Predictor:
    """One model with its weights.

    `predict` goes the whole way. `load`, `run` and the two lists of transforms are its steps, for callers that need
    more than a mask, such as MONAI Label's infer task. May be used by several threads.

    Args:
        model: The model without its weights.
        weights: Its weights; loaded at the first run, and again whenever the source offers others.
    """

    def __init__(self, model: ModelDescription, weights: WeightsSource) -> None:
        self.model = model
        self.weights = weights
        self._loaded: dict[str, LoadedNetwork] = {}

    @classmethod
    def from_file(cls, weights: Path, model: ModelDescription) -> Predictor:
        """Return a predictor with the weights of a file, which are loaded at once.

        Args:
            weights: File with a ``state_dict``, by itself or under ``model``.
            model: The model that was trained.

        Raises:
            UserError: There is no such file, it is damaged, or its weights are of another network.
        """
        predictor = cls(model, WeightsFile(weights))
        predictor.load()
        return predictor

    def load(self, device: str | None = None) -> LoadedNetwork:
        """Return the network with the current weights.

        Args:
            device: Name of a torch device (default: the GPU if there is one).

        Raises:
            UserError: There are no weights, or they are of another network.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        current = self.weights.current()
        loaded = self._loaded.get(device)
        if loaded is None or loaded.weights != current:
            network = self.model.network()
            weights = self.weights.load(network)
            # Convolutions on a CPU are faster with this layout; on a GPU it does no harm.
            network.eval().to(torch.device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
            loaded = LoadedNetwork(network, weights)
            # Replaced, not changed in place: other threads may read it.
            others = {name: other for name, other in self._loaded.items() if other.weights == weights}
            self._loaded = others | {device: loaded}
        return loaded

    def image_transforms(
        self, options: InferenceOptions, keys: Sequence[str] = ("image",), *, neighbours: bool = False
    ) -> list[Callable]:
        """Return the transforms from files to what the network sees; see `lib.transforms.image_transforms`."""
        return image_transforms(self.model.preprocessing, keys=keys, keep_hu=options.crf, neighbours=neighbours)

    def mask_transforms(self, options: InferenceOptions) -> list[Callable]:
        """Return the transforms from logits to the mask; see `lib.transforms.mask_transforms`."""
        return mask_transforms(options.model_dump())

    def read(self, files: Mapping[str, Path], options: InferenceOptions | None = None) -> dict[str, Any]:
        """Return what the network sees of an image, and further masks in the same geometry.

        Args:
            files: The image, then masks: .nrrd, .nii or .nii.gz, on one grid.
            options: Inference options (default: the model's).
        """
        return Compose(self.image_transforms(options or self.model.options, tuple(files)))(dict(files))

    def run(
        self,
        data: Mapping[str, Any],
        options: InferenceOptions | None = None,
        *,
        volume: torch.Tensor | None = None,
        stacked: bool = False,
        device: str | None = None,
        before_pass: BeforePass = no_wait,
    ) -> NetworkOutput:
        """Run the network on the slices that show lung.

        Args:
            data: With ``image`` and ``lung_slices``, as `image_transforms` leave them.
            options: Inference options (default: the model's).
            volume: Voxels to see instead of those of ``image``, on the same grid.
            stacked: Whether the channels of the volume are the neighbouring slices; otherwise it has one channel.
            device: As for `load`.
            before_pass: Called before each forward pass; may wait, report progress or raise to cancel.

        Raises:
            UserError: There are no weights, or they are of another network.
            NotFiniteError: The network's output is not finite.
        """
        options = options or self.model.options
        image: MetaTensor = data["image"]
        loaded = self.load(device)
        logits, attention = infer_slices(
            loaded.network,
            image.as_tensor() if volume is None else volume,
            data["lung_slices"],
            options.batch_size,
            offsets=None if stacked else in_slices(self.model.preprocessing["slice_offsets_mm"], image),
            views=options.views,
            attention=options.attention,
            before_pass=before_pass,
        )
        check_finite(logits, str(loaded.weights))
        return NetworkOutput(logits, attention, loaded.weights)

    def predict(self, image: Path, options: InferenceOptions | None = None) -> np.ndarray:
        """Return the mask of a volume on its own grid: uint8, shape (X, Y, Z) as stored.

        Args:
            image: .nrrd, .nii or .nii.gz, in HU.
            options: Inference options (default: the model's).

        Raises:
            UserError: As for `run`.
        """
        (mask,) = self.predict_variants(image, [options or self.model.options])
        return mask

    def predict_variants(
        self, image: Path, variants: Sequence[InferenceOptions], change: Change | None = None
    ) -> list[np.ndarray]:
        """Return a mask, as `predict` does, for each of some options, from one run of the network.

        Args:
            image: .nrrd, .nii or .nii.gz, in HU.
            variants: Options that differ only in what follows the network, as ``min_confidence`` does.
            change: Applied to what the network sees, (C, 256, 256, D), normalised; for tests of robustness.
        """
        stacked = change is not None  # it works on all channels of the whole volume
        data = Compose(self.image_transforms(variants[0], neighbours=stacked))({"image": image})
        volume = data["image"].as_tensor()
        output = self.run(data, variants[0], volume=change(volume) if change else volume, stacked=stacked)
        data["pred"] = output.logits
        return [np.asarray(Compose(self.mask_transforms(options))(dict(data))["pred"]) for options in variants]
