"""Settings of the runs of offline training."""

from __future__ import annotations

from pydantic import ConfigDict

from lib.settings import Section


class LoopSettings(Section):
    """Settings of the training loop."""

    model_config = ConfigDict(frozen=True)

    steps: int = 6000
    """Optimiser steps."""
    cycles: int = 2
    """Cosine cycles of the learning rate over the steps; the weights are usable at the end of each."""
    batch_size: int = 24
    """Patches or cubes per step."""
    learning_rate: float = 0.002
    """Peak learning rate of Adam."""
    seed: int = 0
    """Seed of weights and data."""
    save_every: int = 250
    """Steps between checkpoints; the only setting without an effect on the weights."""
    bfloat16: bool = False
    """Run the network in half precision, which is faster if the processor supports it."""


class RunSettings(LoopSettings):
    """Settings of one run of the automatic model, apart from its data, its initial weights and ``info.yaml``."""

    patch_size: int = 64
    """Side of the patches in pixels, a multiple of the network's stride."""
    crops_first: float = 1 / 3
    """Fraction of the steps over which the patches change from crops only to the full mixture."""
    decoys: int = 2
    """See ``PatchSampler``."""
    large_tumours: float = 0.3
    """See ``PatchSampler``."""
