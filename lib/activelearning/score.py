"""Computation of the score of one image, in the server or in a worker of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lib.activelearning.uncertainty import probability_maps, soft_dice_loss, uncertainty
from lib.cluster.worker_model import WorkerModel
from lib.geometry.voxel_grid import voxel_mm3
from lib.inference import Predictor
from lib.settings import InferenceOptions


@dataclass(frozen=True)
class Score:
    """The score of one image by one model.

    Attributes:
        uncertainty: Uncertainty in [0, 1].
        label_sha256: Checksum of the label it was compared with; None without a label.
        disagreement: One minus the Dice coefficient of the model's mask and that label; None without a label.
    """

    uncertainty: float
    label_sha256: str | None = None
    disagreement: float | None = None


@dataclass(frozen=True)
class ScoreRequest:
    """What determines a score.

    Attributes:
        measure: One of ``MEASURES``.
        image: Volume.
        label: Mask to compare with; None without.
        label_sha256: Its checksum.
        options: Inference options.
    """

    measure: str
    image: Path
    label: Path | None
    label_sha256: str | None
    options: InferenceOptions


def compute_score(
    predictor: Predictor, request: ScoreRequest, before_each_batch: Callable[[], None] = lambda: None
) -> Score:
    """Return the score of an image.

    Args:
        predictor: The model.
        request: What to score.
        before_each_batch: Called before each forward pass; may block.
    """
    files = {"image": request.image} | ({"label": request.label} if request.label else {})
    data = predictor.read(files, request.options)

    def predict(volume: torch.Tensor) -> torch.Tensor:
        output = predictor.run(
            data, request.options, volume=volume, before_pass=lambda done, total: before_each_batch()
        )
        return output.logits[0].sigmoid()

    maps = probability_maps(request.measure, predict, data["image"].as_tensor())
    value = uncertainty(request.measure, maps, voxel_mm3(data["image"].affine))
    if request.label is None:
        return Score(value)
    mask = (maps[0] >= request.options.threshold).float()
    truth = (data["label"][0].as_tensor() > 0).float()
    return Score(value, request.label_sha256, soft_dice_loss(mask, truth, smallest=1))


def score_on_worker(model: WorkerModel[Predictor], request: ScoreRequest) -> Score:
    """Return the score of an image; called in a worker, which sees the files of the server."""
    return compute_score(model.predictor(), request)
