"""Slice-wise inference of the 2D network over a volume, in batches and only on slices with lung."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from scipy import ndimage
from torch import nn

from lib.transforms.adjacent_slices import adjacent_slices

# Axes of (slice, channel, X, Y) along which each view is flipped. Channels are slices above and below.
MIRRORED = ((), (1, 2), (3,), (1, 2, 3))
_CHANNEL = 1
_BACKGROUND_LOGIT = -20.0
_MIN_PROBABILITY = 0.1  # of the first view, for a pixel to be evaluated in the other views
_CONTEXT_PX = 16  # margin around such pixels


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
    """Run the network on each slice that contains lung.

    Args:
        network: ``AttentionResidualUNet`` in evaluation mode; its device is used.
        volume: Output of ``image_transforms``, shape (C, 256, 256, D); (1, 256, 256, D) with ``offsets``.
        lung_slices: First slice with lung and one past the last.
        batch_size: Slices transferred to the device at a time. A GPU processes them in one forward pass; a CPU one by
            one, because the features of one slice then stay in its cache (measured: a third faster than eight).
        offsets: Distances, in slices, of the adjacent slices that become channels; the channels are then made from the
            volume one batch at a time. None if the volume has them as channels already.
        views: Number of views of ``MIRRORED`` whose probability is averaged; requires symmetric adjacent slices. Only
            regions around the findings of the first view are evaluated in the others.
        attention: Also return the coefficients of the finest attention gate (eq. 6), of the first view.

    Returns:
        Logits, shape (1, 256, 256, D), on the CPU, very negative where the network was not run; and the coefficients
        in [0, 1] of the same shape, or None.
    """
    device = next(network.parameters()).device
    logits = torch.full((1, *volume.shape[1:]), _BACKGROUND_LOGIT)
    weights = torch.zeros_like(logits) if attention else None
    air = None if offsets is None else volume.min()
    at_once = 1 if device.type == "cpu" else batch_size
    for start in range(*lung_slices, batch_size):
        stop = min(start + batch_size, lung_slices[1])
        seen = volume[..., start:stop]
        if offsets is not None and air is not None:
            seen = adjacent_slices(volume, offsets, start, stop, air)
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
    """Return the logits of the first view, replaced around its findings by those of the mean over all views."""
    mean = first.clone()
    probability = first.sigmoid()
    for windows in _windows(probability, cast(int, network.stride)):
        parts = torch.stack([slices[window.place] for window in windows])
        count = at_once * slices[0, 0].numel() // parts[0, 0].numel()  # as many pixels as in the passes of whole slices
        others = cast(torch.Tensor, sum(_mirrored_probability(network, parts, axes, count) for axes in mirrored))
        for window, other in zip(windows, others, strict=True):
            logits = ((probability[window.place] + other) / (1 + len(mirrored))).logit(eps=1e-6)
            mean[window.place] = torch.where(window.near, logits, mean[window.place])
    return mean


def _mirrored_probability(network: nn.Module, parts: torch.Tensor, axes: tuple[int, ...], at_once: int) -> torch.Tensor:
    """Return the probability of a mirrored view, flipped back."""
    seen = torch.cat([network(part.flip(axes)) for part in parts.split(at_once)])
    return seen.flip([axis for axis in axes if axis != _CHANNEL]).sigmoid()


@dataclass(frozen=True)
class _Window:
    """Part of a slice that is evaluated in all views.

    Attributes:
        place: Index into (slice, channel, X, Y).
        near: Pixels near a finding, bool, (X, Y); each belongs to one window.
    """

    place: tuple[int | slice, ...]
    near: torch.Tensor


def _windows(probability: torch.Tensor, stride: int) -> Iterable[list[_Window]]:
    """Return windows around all possible findings, grouped by shape so that each group forms a batch.

    Args:
        probability: Probability of the first view, (slice, 1, X, Y).
        stride: Stride of the network; sides are multiples of twice this.
    """
    windows = defaultdict(list)
    for index, found in enumerate((probability[:, 0] >= _MIN_PROBABILITY).cpu().numpy()):
        areas, _ = ndimage.label(ndimage.maximum_filter(found, 2 * _CONTEXT_PX + 1))
        for number, box in enumerate(ndimage.find_objects(areas), start=1):
            cuts = tuple(_widened(cut, 2 * stride, length) for cut, length in zip(box, areas.shape, strict=True))
            near = torch.from_numpy(areas[cuts] == number).to(probability.device)
            windows[near.shape].append(_Window((index, slice(None), *cuts), near))
    return windows.values()


def _widened(cut: slice, step: int, length: int) -> slice:
    """Return a slice around ``cut`` whose length is a multiple of ``step``, or the whole length."""
    side = min(-(-(cut.stop - cut.start) // step) * step, length)
    start = min(max((cut.start + cut.stop - side) // 2, 0), length - side)
    return slice(start, start + side)
