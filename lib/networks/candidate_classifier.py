"""Classifier of candidate lesions in three dimensions, the second stage after the segmentation network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.blocks import Convolution
from torch import nn


class CandidateClassifier(nn.Module):
    """Two small 3-D convolutional networks, for two cubes around a candidate at different scales.

    Args:
        channels: Channels of the fine and of the coarse cube.
        features: Number of measurements of the candidate.
        width: Channels of the first convolution; doubled at each of the three levels.
    """

    def __init__(self, channels: Sequence[int], features: int, width: int = 8) -> None:
        super().__init__()
        self.towers = nn.ModuleList(_tower(count, width) for count in channels)
        self.normalise = nn.BatchNorm1d(features)
        self.head = nn.Sequential(
            nn.Linear(2 * len(channels) * 4 * width + features, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 1)
        )

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Return the logit that each candidate is a lesion, (B,).

        Args:
            fine: Cube of the fine scale, (B, C, n, n, n).
            coarse: Cube of the coarse scale, (B, C, n, n, n).
            features: Measurements, (B, F).
        """
        # On a CPU, three-dimensional convolutions are a third faster with this memory format.
        cubes = [cube.contiguous(memory_format=torch.channels_last_3d) for cube in (fine, coarse)]
        maps = [tower(cube) for tower, cube in zip(self.towers, cubes, strict=True)]
        pooled = [statistic for one in maps for statistic in (one.mean((2, 3, 4)), one.amax((2, 3, 4)))]
        return self.head(torch.cat([*pooled, self.normalise(features)], dim=1))[:, 0]


def _tower(channels: int, width: int) -> nn.Sequential:
    widths = [channels, width, 2 * width, 4 * width]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [Convolution(3, before, after, norm="batch", act="relu"), nn.MaxPool3d(2)]
    return nn.Sequential(*layers[:-1])
