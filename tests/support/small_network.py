"""A network that is built in no time, and two versions of its untrained weights."""

import pytest
import torch

from lib.networks import AttentionResidualUNet
from lib.publishing import ModelStore
from lib.settings import load_info


@pytest.fixture
def info():
    """Settings of the app with a quarter of the resolution and a narrow network."""
    info = load_info()
    info["network"]["channels"] = [4, 8]
    info["preprocessing"]["size"] = [64, 64]
    info["config"]["train"]["patch_size"] = 32
    return info


@pytest.fixture
def store(info, tmp_path):
    """Two versions, none of which serves."""
    store = ModelStore(tmp_path / "model")
    for seed in (0, 1):
        torch.manual_seed(seed)
        weights = tmp_path / f"{seed}.pt"
        torch.save({"model": AttentionResidualUNet(**info["network"]).state_dict()}, weights)
        store.keep(weights, {"seed": seed})
    return store
