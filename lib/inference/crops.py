"""Run a network over many small volumes: those of about one size together, which costs a fraction of one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Generic, Protocol, TypeVar

import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from torch import nn

from lib.transforms.adjacent_slices import AdjacentSlicesd

_STEP_PX = 16  # sides are rounded up to it, a multiple of any network's stride here
_SLICES_AT_ONCE = 256  # of which the images are held in memory
_PIXELS_AT_ONCE = 512**2  # in one forward pass


class Crop(Protocol):
    """A preprocessed volume."""

    @property
    def image(self) -> torch.Tensor:
        """Return the normalised image, shape (X, Y, Z)."""

    @property
    def spacing(self) -> float:
        """Return the distance between slices, mm."""


AnyCrop = TypeVar("AnyCrop", bound=Crop)


@dataclass(frozen=True)
class CropBatch(Generic[AnyCrop]):
    """Crops padded with air to squares of one side, and joined along their slices.

    Attributes:
        crops: The crops, in the order of their slices.
        volume: What the network sees of them, shape (C, side, side, slices of all).
        border_px: Air before each crop, along both axes of a slice.
    """

    crops: Sequence[AnyCrop]
    volume: torch.Tensor
    border_px: int

    def split(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Return each crop's own part, (X, Y, Z), of a map of the batch, (side, side, slices of all)."""
        parts = values.split([crop.image.shape[2] for crop in self.crops], dim=-1)
        return [part[self._window(crop)] for crop, part in zip(self.crops, parts, strict=True)]

    def _window(self, crop: Crop) -> tuple[slice, slice]:
        width, height, _ = crop.image.shape
        return slice(self.border_px, self.border_px + width), slice(self.border_px, self.border_px + height)


def crop_batches(
    crops: Sequence[AnyCrop], preprocessing: Mapping[str, Any], border_px: int = 2
) -> Iterator[CropBatch[AnyCrop]]:
    """Join crops to batches that fit into memory, smallest crops first; a whole scan is a batch of its own.

    Args:
        crops: Crops or whole scans.
        preprocessing: Section ``preprocessing`` of info.yaml.
        border_px: Air around each crop, at least, in pixels.
    """

    def side(crop: AnyCrop) -> int:
        return -(-(max(crop.image.shape[:2]) + 2 * border_px) // _STEP_PX) * _STEP_PX

    for length, group in groupby(sorted(crops, key=side), key=side):
        for chunk in _chunks(list(group)):
            volume = torch.cat([_padded(crop, length, border_px, preprocessing) for crop in chunk], dim=-1)
            yield CropBatch(chunk, volume, border_px)


@torch.inference_mode()
def tumour_probability(network: nn.Module, volume: torch.Tensor) -> torch.Tensor:
    """Return the probability of tumour of one view, (X, Y, slices), on the CPU.

    Args:
        network: ``AttentionResidualUNet`` in evaluation mode; decides the device.
        volume: What it sees, shape (C, X, Y, slices).
    """
    device = next(network.parameters()).device
    slices = volume.permute(3, 0, 1, 2).contiguous(memory_format=torch.channels_last)
    batches = slices.split(max(_PIXELS_AT_ONCE // volume[0, ..., 0].numel(), 1))
    return torch.cat([network(batch.to(device))[:, 0].cpu() for batch in batches]).sigmoid().permute(1, 2, 0)


def _chunks(crops: list[AnyCrop]) -> Iterator[list[AnyCrop]]:
    """Yield crops with as many slices together as fit into memory."""
    chunk: list[AnyCrop] = []
    for crop in crops:
        if chunk and sum(one.image.shape[2] for one in [*chunk, crop]) > _SLICES_AT_ONCE:
            yield chunk
            chunk = []
        chunk.append(crop)
    yield chunk


def _padded(crop: Crop, side: int, border_px: int, preprocessing: Mapping[str, Any]) -> torch.Tensor:
    """Return what the network sees of a crop, (C, side, side, Z)."""
    air = (preprocessing["hu_window"][0] - preprocessing["hu_mean"]) / preprocessing["hu_std"]
    width, height, _ = crop.image.shape
    after = (side - height - border_px, side - width - border_px)
    padded = F.pad(crop.image[None], (0, 0, border_px, after[0], border_px, after[1]), value=air)
    stack = AdjacentSlicesd(keys="image", offsets_mm=preprocessing["slice_offsets_mm"])
    volume = MetaTensor(padded, affine=torch.diag(torch.tensor([1.0, 1.0, crop.spacing, 1.0], dtype=torch.float64)))
    return stack({"image": volume})["image"].as_tensor()
