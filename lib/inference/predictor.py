"""The predictor, which computes the mask of a volume on the volume's own grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from lib.inference.candidate_judge import CandidateJudge
from lib.inference.findings import Finding
from lib.inference.finite import check_finite
from lib.inference.gpu_memory import within_gpu_memory
from lib.inference.model_description import ModelDescription
from lib.inference.network_loader import LoadedNetwork, NetworkLoader
from lib.inference.slice_inference import BeforePass, infer_slices, no_wait
from lib.inference.weights_source import WeightsFile, WeightsId, WeightsSource
from lib.settings import InferenceOptions
from lib.transforms import image_transforms, mask_transforms
from lib.transforms.adjacent_slices import in_slices

Change = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Prediction:
    """Result for a volume, on its own grid.

    Attributes:
        mask: uint8, shape (X, Y, Z) as in the file.
        findings: Its findings.
    """

    mask: np.ndarray
    findings: Sequence[Finding]


@dataclass(frozen=True)
class NetworkOutput:
    """Output of the network for a volume, in the network's field of view.

    Attributes:
        logits: Shape (1, 256, 256, D), on the CPU, finite.
        attention: Coefficients in [0, 1] of the finest attention gate (eq. 6), same shape; None unless requested.
        weights: Identity of the weights.
        judge: Second stage of these weights; None keeps all candidates.
    """

    logits: torch.Tensor
    attention: torch.Tensor | None
    weights: WeightsId
    judge: CandidateJudge | None = None


class Predictor:
    """A model with weights. Thread-safe.

    `predict` returns a mask. Its steps `load`, `run` and the two lists of transforms are public for callers that need
    more, such as MONAI Label's infer task.

    Args:
        model: The model without its weights.
        weights: Source of the weights, which are loaded at the first run, and again when the source has others.
    """

    def __init__(self, model: ModelDescription, weights: WeightsSource) -> None:
        self.model = model
        self.weights = weights
        self._loader = NetworkLoader(model.network, weights, torch.channels_last)

    @classmethod
    def from_file(cls, weights: Path, model: ModelDescription) -> Predictor:
        """Return a predictor with the weights of a file, after loading them.

        Args:
            weights: File with a ``state_dict``, at the top level or under ``model``.
            model: The model that was trained.

        Raises:
            UserError: The file is missing or damaged, or its weights do not match the network.
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
        return self._loader.load(device)

    def image_transforms(
        self, options: InferenceOptions, keys: Sequence[str] = ("image",), *, neighbours: bool = False
    ) -> list[Callable]:
        """Return the transforms from files to the network's input; see `lib.transforms.image_transforms`."""
        return image_transforms(self.model.preprocessing, keys=keys, keep_hu=options.crf, neighbours=neighbours)

    def mask_transforms(self, options: InferenceOptions, judge: CandidateJudge | None) -> list[Callable]:
        """Return the transforms from logits to the mask; see `lib.transforms.mask_transforms`.

        Args:
            options: Inference options.
            judge: Second stage of the weights that the logits were computed with.
        """
        limit = judge.min_confidence(options.false_findings_per_scan) if judge else 0.0
        return mask_transforms(options.model_dump(), judge=judge, min_confidence=limit)

    def read(self, files: Mapping[str, Path], options: InferenceOptions | None = None) -> dict[str, Any]:
        """Return the network's input for an image, and masks in the same geometry.

        Args:
            files: The image, then masks: .nrrd, .nii or .nii.gz, all on one grid.
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
        """Run the network on the slices with lung.

        Args:
            data: Output of `image_transforms` with ``image`` and ``lung_slices``.
            options: Inference options (default: the model's).
            volume: Input to use instead of ``image``, on the same grid.
            stacked: Whether the adjacent slices are already channels of the volume; otherwise it has one channel.
            device: See `load`.
            before_pass: Called before each forward pass; may block, report progress, or raise to cancel.

        Raises:
            UserError: There are no weights, or they do not match the network.
            GpuMemoryError: The GPU has too little memory.
            NotFiniteError: The network's output is not finite.
        """
        options = options or self.model.options
        image: MetaTensor = data["image"]
        loaded = self.load(device)
        with within_gpu_memory():
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
        return NetworkOutput(logits, attention, loaded.weights, loaded.judge or self.model.judge)

    def predict(self, image: Path, options: InferenceOptions | None = None) -> np.ndarray:
        """Return the mask of a volume on its own grid: uint8, shape (X, Y, Z) as in the file.

        Args:
            image: .nrrd, .nii or .nii.gz, in HU.
            options: Inference options (default: the model's).

        Raises:
            UserError: See `run`.
        """
        (prediction,) = self.predict_variants(image, [options or self.model.options])
        return prediction.mask

    def predict_variants(
        self, image: Path, variants: Sequence[InferenceOptions], change: Change | None = None
    ) -> list[Prediction]:
        """Return mask and findings for each of several options from one run of the network; see `predict`.

        Args:
            image: .nrrd, .nii or .nii.gz, in HU.
            variants: Options that differ only in postprocessing, such as ``false_findings_per_scan``.
            change: Applied to the network's input, (C, 256, 256, D), normalised; for robustness tests.
        """
        stacked = change is not None  # a change is applied to all channels of the whole volume
        data = Compose(self.image_transforms(variants[0], neighbours=stacked))({"image": image})
        volume = data["image"].as_tensor()
        output = self.run(data, variants[0], volume=change(volume) if change else volume, stacked=stacked)
        data["pred"] = output.logits
        return [_prediction(Compose(self.mask_transforms(options, output.judge))(dict(data))) for options in variants]


def _prediction(data: Mapping[str, Any]) -> Prediction:
    return Prediction(np.asarray(data["pred"]), [Finding(*found) for found in data["findings"]])
