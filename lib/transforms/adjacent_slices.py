"""What lies above and below a slice, as further channels of it."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform


class AdjacentSlicesd(MapTransform):
    """Stack the volume with itself seen at distances along the scan axis, given in mm.

    A vessel that crosses a slice looks like a nodule in it; a few mm above and below it still looks like a
    vessel. The distance is physical, so that thin and thick slices show the same: between slices the value is
    interpolated linearly. Beyond the ends, half a slice from the middle of the last one, there is air as around a
    small image: to repeat the last slice would make a vessel of each nodule that is cut there.

    Args:
        keys: Tensors of shape (1, X, Y, Z).
        offsets_mm: One output channel for each, in mm towards the end of the Z axis.

    Example:
        Offsets (-2.5, 0, 2.5) make (1, X, Y, Z) to (3, X, Y, Z), the unchanged volume in the middle.
    """

    def __init__(self, keys: KeysCollection, *, offsets_mm: Sequence[float], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.offsets_mm = tuple(offsets_mm)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
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
    """Distances along the last axis of a volume in slices instead of mm."""
    spacing = float(volume.pixdim[-1])
    return [offset / spacing for offset in offsets_mm]


def adjacent_slices(
    volume: torch.Tensor, offsets: Sequence[float], start: int, stop: int, air: torch.Tensor
) -> torch.Tensor:
    """What ``AdjacentSlicesd`` makes of a volume, for a range of its slices.

    Args:
        volume: Shape (1, X, Y, Z).
        offsets: One channel for each, in slices.
        start: First slice.
        stop: One past the last.
        air: What lies beyond the ends: the lowest value of the volume, for that is what surrounds a chest, and what a
            smaller image was padded with.

    Returns:
        Shape (channels, X, Y, stop - start).
    """
    slices = volume.permute(3, 0, 1, 2)
    return torch.cat([_shifted(slices, offset, start, stop, air) for offset in offsets], dim=1).permute(1, 2, 3, 0)


def _shifted(slices: torch.Tensor, offset: float, start: int, stop: int, air: torch.Tensor) -> torch.Tensor:
    """Some of the slices, (Z, 1, X, Y), as seen from ``offset`` slices further on, a fraction of one allowed."""
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
