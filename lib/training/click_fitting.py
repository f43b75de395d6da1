"""Offline training of the model for clicks on simulated sessions of users."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.clicks.lesion_image import LesionImage
from lib.clicks.model import ClickModel
from lib.clicks.predictor import ClickPredictor
from lib.evaluation.click_curve import click_through, lesion_regions
from lib.inference import WeightsContent
from lib.training.click_cubes import CubeSampler
from lib.training.click_data import ClickData
from lib.training.click_sessions import ClickSessions
from lib.training.optimisation import Batches, initial_network, optimise
from lib.training.run_manifest import new_manifest
from lib.training.run_settings import LoopSettings

SECTIONS = ("clicks", "preprocessing")
"""Sections of info.yaml that describe the network and its input."""

_WATCHED = 24  # crops measured at each checkpoint, of those held out and of those trained on
_CLICKS = 3


def fit_clicks(
    data: ClickData,
    settings: LoopSettings,
    *,
    info: Mapping[str, Any],
    output: Path,
    initial: Path | None = None,
) -> Path:
    """Train a network and return the path of its weights, ``output/model.pt``.

    The held-out crops are only monitored, together with as many training crops, and never used for selection.

    Args:
        data: Training data, and the held-out crops to monitor.
        settings: Settings of the run.
        info: ``info.yaml``.
        output: Folder of the run.
        initial: Initial weights with their manifest, instead of random ones.

    Raises:
        UserError: The folder has a run with other settings or data, or the patients of the initial weights are unknown.
    """
    model = ClickModel.from_info(info)
    sessions = SessionBatches(data, settings, model)
    return optimise(
        lambda: initial_network(model.network(), initial),
        sessions.after,
        settings,
        new_manifest(data, settings, info, initial, sections=SECTIONS),
        output,
        measure=lambda average: _measured(average, model, data),
        after_step=sessions.answer,
    )


class SessionBatches:
    """The batches of `optimise`: simulated sessions, answered with the logits of each batch.

    Args:
        data: Training data.
        settings: Settings of the run.
        model: The model.
        sampling: Further arguments of `CubeSampler`.
    """

    def __init__(self, data: ClickData, settings: LoopSettings, model: ClickModel, **sampling: float) -> None:
        self._data = data
        self._settings = settings
        self._model = model
        self._sampling = sampling
        self._sessions: ClickSessions | None = None

    def after(self, steps: int) -> Batches:
        """Return the batches after a number of steps."""
        data, model = self._data, self._model
        rng = np.random.default_rng(self._settings.seed + steps)
        cubes = CubeSampler(data.crops, data.whole, data.phantoms, model, rng, **self._sampling)
        self._sessions = ClickSessions(cubes, model.preprocessing, self._settings.batch_size, rng)
        return self._sessions

    def answer(self, logits: torch.Tensor) -> None:
        """Set the next click of each session, from the logits of the last batch."""
        assert self._sessions is not None, "the logits are those of a batch"
        self._sessions.answer(logits)


def _measured(network: torch.nn.Module, model: ClickModel, data: ClickData) -> dict[str, float | None]:
    """Return the mean Dice of held-out crops after one and three clicks, and of training crops after one."""
    content = io.BytesIO()
    torch.save(network.state_dict(), content)
    predictor = ClickPredictor(model, WeightsContent(content.getvalue(), "in training"))
    test, trained = (_dice(predictor, images) for images in (data.test_crops, data.crops))
    return {
        "test_crop_dice": test[0],
        "trained_crop_dice": trained[0],
        f"test_crop_dice_{_CLICKS}_clicks": test[-1],
    }


def _dice(predictor: ClickPredictor, images: Sequence[LesionImage]) -> list[float | None]:
    """Return the mean Dice over some crops after each click."""
    results = [
        click_through(predictor, image, region, _CLICKS).dice
        for image in images[:: max(1, len(images) // _WATCHED)]
        for region in lesion_regions(image)[:1]
    ]
    if not results:
        return [None] * _CLICKS
    return [round(float(dice), 4) for dice in np.mean(results, axis=0)]
