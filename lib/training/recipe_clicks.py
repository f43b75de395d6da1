"""The training of the model for clicks by a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.training.click_data import phantom_names, read_click_data
from lib.training.click_fitting import SECTIONS, fit_clicks
from lib.training.recipe import Recipe
from lib.training.recipe_runs import train_once
from lib.training.run_manifest import settings_of

FOLDER = "clicks"


def train_click_model(recipe: Recipe, data: Path, output: Path, info: Mapping[str, Any]) -> Path:
    """Train the model for clicks unless it is finished, and return the folder of its run.

    Args:
        recipe: Recipe with a section ``clicks``.
        data: Folder that the paths of the recipe are relative to.
        output: Folder of all runs.
        info: ``info.yaml``.

    Raises:
        UserError: The folder has a run with other settings or data, or the weights were trained on a patient that they
            are to be measured on.
    """
    assert recipe.clicks is not None
    clicks, folder, cache = recipe.clicks, output / FOLDER, output / "volumes"
    folders = recipe.folders(clicks.data, clicks.negatives, data)
    expected = {
        "settings": settings_of(clicks.settings, info, None, SECTIONS),
        "left_out": sorted(clicks.leave_out),
        "checksums": folders.checksums(cache),
        "data": {"phantoms": phantom_names(clicks.phantoms)},
    }

    def train() -> None:
        learned = read_click_data(folders, info, cache, clicks.leave_out, clicks.phantoms)
        fit_clicks(learned, clicks.settings, info=info, output=folder)

    train_once(FOLDER, folder, expected, train, clicks.leave_out)
    return folder
