"""Continued training of the model for clicks on the lesions of a user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lib.clicks.model import ClickModel
from lib.networks.weights import load_state
from lib.training.click_data import ClickData
from lib.training.click_fitting import SECTIONS, SessionBatches
from lib.training.fixed_statistics import train_with_fixed_statistics
from lib.training.optimisation import optimise
from lib.training.run_manifest import settings_of
from lib.training.run_settings import LoopSettings

_SHARE_PHANTOM = 0.3  # of the cubes


def tune_clicks(
    parent: Mapping[str, torch.Tensor],
    data: ClickData,
    settings: LoopSettings,
    *,
    info: Mapping[str, Any],
    output: Path,
    report: Callable[[], None],
) -> Path:
    """Train on lesions of a user for a few steps, and return the path of the weights.

    To keep what the parent knows, a part of the cubes is of generated chests, and the statistics of batch normalisation
    stay those of the parent.

    Args:
        parent: Weights to begin with.
        data: Images of the user, and generated chests.
        settings: Settings of the run.
        info: ``info.yaml``.
        output: Folder of the run.
        report: Called every ``settings.save_every`` steps and after the last.

    Raises:
        UserError: No image has a lesion.
    """
    model = ClickModel.from_info(info)
    sessions = SessionBatches(data, settings, model, phantom_share=_SHARE_PHANTOM)

    def begin() -> nn.Module:
        network = model.network()
        load_state(network, dict(parent))
        return network

    def measure(average: nn.Module) -> dict[str, float | None]:
        report()
        return {}

    manifest = {"settings": settings_of(settings, info, None, SECTIONS), "history": []}
    return optimise(
        begin,
        sessions.after,
        settings,
        manifest,
        output,
        measure=measure,
        after_step=sessions.answer,
        set_mode=train_with_fixed_statistics,
    )
