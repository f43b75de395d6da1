"""Adjacent slices as additional channels of each slice."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform


class AdjacentSlicesd(MapTransform):
    """Stack the volume with copies of itself shifted along the scan axis by distances in mm.

    A vessel that crosses a slice looks like a nodule in it, but a few mm above and below it still looks like a vessel.
    Distances are physical, so that thin and thick slices show the same; values between slices are interpolated
    linearly. Beyond the ends, half a slice from the centre of the last one, the volume is padded with air, as around a
    small image: repeating the last slice would make each nodule that is cut there look like a vessel.

    Args:
        keys: Tensors of shape (1, X, Y, Z).
        offsets_mm: Offset of each output channel, in mm towards the end of the Z axis.

    Example:
        Offsets (-2.5, 0, 2.5) turn (1, X, Y, Z) into (3, X, Y, Z), with the unchanged volume in the middle.
    """

    def __init__(self, keys: KeysCollection, *, offsets_mm: Sequence[float], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.offsets_mm = tuple(offsets_mm)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the volumes of ``keys`` by stacks of channels."""
        d = dict(data)
        for key in self.key_iterator(d):
            volume: MetaTensor = d[key]
            offsets = in_slices(self.offsets_mm, volume)
            plain = volume.as_tensor()
            stacked = adjacent_slices(plain, offsets, 0, plain.shape[-1], plain.min()).contiguous()
            d[key] = MetaTensor(stacked, meta=volume.meta, applied_operations=volume.applied_operations)
        return d


def is_symmetric(offsets_mm: Sequence[float]) -> bool:
    """Return whether the offsets are the same above as below, so that the channels may be flipped."""
    return tuple(offsets_mm) == tuple(-offset for offset in reversed(offsets_mm))


def in_slices(offsets_mm: Sequence[float], volume: MetaTensor) -> list[float]:
    """Convert distances along the last axis of a volume from mm to slices."""
    spacing = float(volume.pixdim[-1])
    return [offset / spacing for offset in offsets_mm]


def adjacent_slices(
    volume: torch.Tensor, offsets: Sequence[float], start: int, stop: int, air: torch.Tensor
) -> torch.Tensor:
    """Return the output of ``AdjacentSlicesd`` for a range of slices.

    Args:
        volume: Shape (1, X, Y, Z).
        offsets: Offset of each channel, in slices.
        start: First slice.
        stop: One past the last slice.
        air: Padding beyond the ends: the lowest value of the volume, as around a chest and in the padding of smaller
            images.

    Returns:
        Shape (channels, X, Y, stop - start).
    """
    slices = volume.permute(3, 0, 1, 2)
    return torch.cat([_shifted(slices, offset, start, stop, air) for offset in offsets], dim=1).permute(1, 2, 3, 0)


def _shifted(slices: torch.Tensor, offset: float, start: int, stop: int, air: torch.Tensor) -> torch.Tensor:
    """Return slices ``start`` to ``stop`` of (Z, 1, X, Y), shifted by ``offset`` slices with linear interpolation."""
    if offset == 0:
        return slices[start:stop]
    last = len(slices) - 1
    wanted = torch.arange(start, stop) + offset
    position = wanted.clamp(0, last)
    below = position.floor().long()
    part = (position - below).to(slices)[:, None, None, None]
    seen = torch.lerp(slices[below], slices[(below + 1).clamp(max=last)], part)
    seen[(wanted < -0.5) | (wanted > last + 0.5)] = air
    return seen
