"""A tiny network and two versions of its untrained weights."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lib.inference import ModelDescription, Predictor
from lib.infers import LungTumorInferTask
from lib.networks import AttentionResidualUNet
from lib.publishing import ModelStore
from lib.publishing.serving_weights import ServingWeights
from lib.settings import load_info


@pytest.fixture
def info():
    """Return the app's settings with a quarter of the resolution and a narrow network."""
    info = load_info()
    info["network"]["channels"] = [4, 8]
    info["preprocessing"]["size"] = [64, 64]
    info["config"]["train"]["patch_size"] = 32
    return info


@pytest.fixture
def store(info, tmp_path):
    """Return a model store with two versions, neither of which serves."""
    store = ModelStore(tmp_path / "model")
    for seed in (0, 1):
        torch.manual_seed(seed)
        weights = tmp_path / f"{seed}.pt"
        torch.save({"model": AttentionResidualUNet(**info["network"]).state_dict()}, weights)
        store.keep(weights, {"seed": seed})
    return store


def serving_predictor(info: dict[str, Any], store: ModelStore) -> Predictor:
    """Return a predictor of the serving weights of a store."""
    return Predictor(ModelDescription.from_info(info), ServingWeights(store))


def infer_task(info: dict[str, Any], store: ModelStore, results: Path | None = None) -> LungTumorInferTask:
    """Return the infer task as the app builds it."""
    return LungTumorInferTask(serving_predictor(info, store), info, results)
