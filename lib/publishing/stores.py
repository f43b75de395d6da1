"""The stores of the versions of all models of a workspace."""

from __future__ import annotations

from pathlib import Path

from lib.publishing.model_store import ModelStore
from lib.publishing.version_files import PRETRAINED_FILE
from lib.settings import Settings

SEGMENTATION, CLICKS = "lung_tumor", "lung_tumor_click"
SHIPPED_FILES = {SEGMENTATION: PRETRAINED_FILE, CLICKS: "pretrained_lung_tumor_click.pt"}


def model_stores(settings: Settings) -> dict[str, ModelStore]:
    """Return the store of each model by the name of the model, the automatic one first."""
    return {
        name: ModelStore(store_folder(settings, name), settings.model_dir / file)
        for name, file in SHIPPED_FILES.items()
    }


def store_folder(settings: Settings, model: str) -> Path:
    """Return the folder of the versions of a model; that of the automatic one contains the others."""
    return settings.models_dir if model == SEGMENTATION else settings.models_dir / model
