"""The two-dimensional network over a volume, slice by slice in batches; slices without lung cost nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from scipy import ndimage
from torch import nn

from lib.transforms.adjacent_slices import adjacent_slices

# Axes of (slice, channel, X, Y) along which each view is turned over. Channels are slices above and below.
MIRRORED = ((), (1, 2), (3,), (1, 2, 3))
_CHANNEL = 1
_LOGIT_OF_NO_TUMOUR = -20.0
_WORTH_A_SECOND_LOOK = 0.1  # probability
_SURROUNDINGS_PX = 16  # that the network sees around it then


@torch.inference_mode()
def infer_slices(
    network: nn.Module,
    volume: torch.Tensor,
    lung_slices: tuple[int, int],
    batch_size: int,
    *,
    offsets: Sequence[float] | None = None,
    views: int = 1,
    attention: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run the network on each slice that shows lung.

    Args:
        network: ``AttentionResidualUNet`` in evaluation mode; decides the device.
        volume: What ``image_transforms`` make, shape (C, 256, 256, D); (1, 256, 256, D) with ``offsets``.
        lung_slices: First slice with lung and the one after the last.
        batch_size: Slices brought to the device at a time. A GPU takes them all in one forward pass; a CPU one
            by one, because the features of one slice stay in its cache: measured a third faster than eight.
        offsets: Distances, in slices, of those that the network sees as channels of a slice. They are then made of the
            volume for a batch at a time; None where they are its channels.
        views: Of how many of ``MIRRORED`` the probability is averaged; the slices that are channels must then lie
            alike above and below. Only the surroundings of what the first view shows are looked at again.
        attention: Also return the coefficients of the finest attention gate (eq. 6), of the first view.

    Returns:
        Logits, shape (1, 256, 256, D), on the CPU, very negative where the network was not asked; and the
        coefficients in [0, 1] of the same shape, or None.
    """
    device = next(network.parameters()).device
    logits = torch.full((1, *volume.shape[1:]), _LOGIT_OF_NO_TUMOUR)
    weights = torch.zeros_like(logits) if attention else None
    air = None if offsets is None else volume.min()
    at_once = 1 if device.type == "cpu" else batch_size
    for start in range(*lung_slices, batch_size):
        stop = min(start + batch_size, lung_slices[1])
        seen = volume[..., start:stop] if offsets is None else adjacent_slices(volume, offsets, start, stop, air)
        batch = seen.permute(3, 0, 1, 2).to(device, memory_format=torch.channels_last)
        passes = [network(part, return_attention=True) for part in batch.split(at_once)]
        found = torch.cat([one for one, _ in passes])
        if views > 1:
            found = _mean_of_views(network, batch, found, MIRRORED[1:views], at_once)
        logits[0, ..., start:stop] = found[:, 0].permute(1, 2, 0).cpu()
        if weights is not None and passes[0][1]:
            gates = torch.cat([coefficients[0] for _, coefficients in passes])
            weights[0, ..., start:stop] = gates[:, 0].permute(1, 2, 0).cpu()
    return logits, weights


def _mean_of_views(
    network: nn.Module, slices: torch.Tensor, first: torch.Tensor, mirrored: tuple[tuple[int, ...], ...], at_once: int
) -> torch.Tensor:
    """The logits of the first view, replaced near all that it shows by those of the mean probability of all views."""
    mean = first.clone()
    probability = first.sigmoid()
    for windows in _windows(probability, network.stride):
        parts = torch.stack([slices[window.place] for window in windows])
        as_large = at_once * slices[0, 0].numel() // parts[0, 0].numel()  # together as large as whole slices at once
        others = sum(_seen(network, parts, axes, as_large) for axes in mirrored)
        for window, other in zip(windows, others, strict=True):
            logits = ((probability[window.place] + other) / (1 + len(mirrored))).logit(eps=1e-6)
            mean[window.place] = torch.where(window.near, logits, mean[window.place])
    return mean


def _seen(network: nn.Module, parts: torch.Tensor, axes: tuple[int, ...], at_once: int) -> torch.Tensor:
    """Probability of a mirrored view, turned back."""
    seen = torch.cat([network(part.flip(axes)) for part in parts.split(at_once)])
    return seen.flip([axis for axis in axes if axis != _CHANNEL]).sigmoid()


@dataclass(frozen=True)
class _Window:
    """Part of a slice that is looked at again.

    Attributes:
        place: Index into (slice, channel, X, Y).
        near: Which of its pixels are near something, bool, (X, Y); each belongs to one window.
    """

    place: tuple[int | slice, ...]
    near: torch.Tensor


def _windows(probability: torch.Tensor, stride: int) -> Iterable[list[_Window]]:
    """Windows around all that may be something, in lists of those of one shape, which go through the network together.

    Args:
        probability: Of the first view, (slice, 1, X, Y).
        stride: Sides are multiples of twice this.
    """
    windows = defaultdict(list)
    for index, found in enumerate((probability[:, 0] >= _WORTH_A_SECOND_LOOK).cpu().numpy()):
        # Areas of one slice to look at again (4-connectivity), not findings.
        areas, _ = ndimage.label(ndimage.maximum_filter(found, 2 * _SURROUNDINGS_PX + 1))
        for number, box in enumerate(ndimage.find_objects(areas), start=1):
            cuts = tuple(_widened(cut, 2 * stride, length) for cut, length in zip(box, areas.shape, strict=True))
            near = torch.from_numpy(areas[cuts] == number).to(probability.device)
            windows[near.shape].append(_Window((index, slice(None), *cuts), near))
    return windows.values()


def _widened(cut: slice, step: int, length: int) -> slice:
    """A cut whose length is a multiple of ``step``, or the whole length, around another one."""
    side = min(-(-(cut.stop - cut.start) // step) * step, length)
    start = min(max((cut.start + cut.stop - side) // 2, 0), length - side)
    return slice(start, start + side)
