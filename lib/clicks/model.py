"""Definition of the model for clicks without its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from lib.clicks.channels import CHANNELS
from lib.networks import AttentionResidualUNet


@dataclass(frozen=True)
class ClickModel:
    """The paper's network in three dimensions, with clicks as further channels.

    Attributes:
        channels: Width of each level of the network, finest first.
        side: Voxels along each axis of the cube.
        voxel_mm: Smallest side of its voxels: that of the first look at a lesion whose size is not known.
        preprocessing: Section ``preprocessing`` of info.yaml, of which the HU values are used.
    """

    channels: tuple[int, ...]
    side: int
    voxel_mm: float
    preprocessing: Mapping[str, Any]

    @classmethod
    def from_info(cls, info: Mapping[str, Any]) -> ClickModel:
        """Return the model that info.yaml describes in ``clicks`` and ``preprocessing``."""
        rule = info["clicks"]
        return cls(tuple(rule["channels"]), rule["cube_voxels"], rule["cube_voxel_mm"], info["preprocessing"])

    def network(self) -> nn.Module:
        """Return a new, untrained network."""
        return AttentionResidualUNet(spatial_dims=3, in_channels=CHANNELS, channels=self.channels)
