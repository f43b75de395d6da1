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
            spacing = float(volume.pixdim[-1])
            plain = volume.as_tensor()
            stacked = torch.cat([_shifted(plain, offset / spacing) for offset in self.offsets_mm])
            d[key] = MetaTensor(stacked, meta=volume.meta, applied_operations=volume.applied_operations)
        return d


def lie_alike(offsets_mm: Sequence[float]) -> bool:
    """Whether the channels show the same above as below, so that their order may be turned over."""
    return tuple(offsets_mm) == tuple(-offset for offset in reversed(offsets_mm))


def _shifted(volume: torch.Tensor, slices: float) -> torch.Tensor:
    """The volume as seen from ``slices`` further along its last axis, a fraction of a slice allowed.

    Its lowest value is air: that is what surrounds a chest, and what a smaller image was padded with.
    """
    if slices == 0:
        return volume
    last = volume.shape[-1] - 1
    wanted = torch.arange(last + 1) + slices
    position = wanted.clamp(0, last)
    below = position.floor().long()
    seen = torch.lerp(volume[..., below], volume[..., (below + 1).clamp(max=last)], (position - below).to(volume))
    seen[..., (wanted < -0.5) | (wanted > last + 0.5)] = volume.min()
    return seen
