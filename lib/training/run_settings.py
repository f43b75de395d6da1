"""Settings of the runs of offline training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from lib.errors import UserError
from lib.settings import Section
from lib.settings.section import AtLeastOne, Count, Fraction


class LoopSettings(Section):
    """Settings of the training loop."""

    model_config = ConfigDict(frozen=True)

    steps: AtLeastOne = 6000
    """Optimiser steps."""
    cycles: AtLeastOne = 2
    """Cosine cycles of the learning rate over the steps; the weights are usable at the end of each."""
    batch_size: AtLeastOne = 24
    """Patches or cubes per step."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.002
    """Peak learning rate of Adam."""
    seed: int = 0
    """Seed of weights and data."""
    save_every: AtLeastOne = 250
    """Steps between checkpoints; the only setting without an effect on the weights."""
    bfloat16: bool = False
    """Run the network in half precision, which is faster if the processor supports it."""


class RunSettings(LoopSettings):
    """Settings of one run of the automatic model, apart from its data, its initial weights and ``info.yaml``."""

    patch_size: AtLeastOne = 64
    """Side of the patches in pixels, a multiple of the network's stride."""
    crops_first: Fraction = 1 / 3
    """Fraction of the steps over which the patches change from crops only to the full mixture."""
    decoys: Count = 2
    """See ``PatchSampler``."""
    large_tumours: Fraction = 0.3
    """See ``PatchSampler``."""


Settings = TypeVar("Settings", bound=LoopSettings)


def settings_of_options(kind: type[Settings], options: Mapping[str, Any]) -> Settings:
    """Return settings from the options of a command, which have the same names.

    Raises:
        UserError: One is out of its range.
    """
    try:
        return kind(**{name: options[name] for name in kind.model_fields})
    except ValidationError as error:
        problems = (f"--{str(one['loc'][0]).replace('_', '-')}: {one['msg']}" for one in error.errors())
        raise UserError(f"Options are out of range: {'; '.join(problems)}.") from error
