"""Inference of the two-dimensional network on the slices of a volume; slices without lung are skipped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from scipy import ndimage
from torch import nn

from lib.transforms.adjacent_slices import adjacent_slices

# Axes of (slice, channel, X, Y) along which each view is mirrored. The channels are adjacent slices.
MIRRORED = ((), (1, 2), (3,), (1, 2, 3))
_CHANNEL = 1
_LOGIT_OF_NO_TUMOUR = -20.0
_PIXELS_AT_ONCE = 256 * 256  # on a CPU
_SECOND_PASS_PROBABILITY = 0.1
_SECOND_PASS_MARGIN_PX = 16


class BeforePass(Protocol):
    """Callback before each forward pass, which may block, report progress, or raise to cancel the run."""

    def __call__(self, done: int, total: int) -> None:
        """Receive the number of finished slices and the total."""


def no_wait(done: int, total: int) -> None:
    """Return at once; default of `BeforePass`."""


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
    before_pass: BeforePass = no_wait,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the logits of the network for a volume.

    Args:
        network: ``AttentionResidualUNet`` in evaluation mode; its device is used.
        volume: Output of ``image_transforms``, shape (C, 256, 256, D); (1, 256, 256, D) with ``offsets``.
        lung_slices: First slice with lung, and one past the last.
        batch_size: Slices copied to the device at a time. A GPU processes them in one forward pass, a CPU as many as
            have the pixels of one whole slice, because their features fit into its cache: measured a third faster than
            batches of eight whole slices.
        offsets: Offsets in slices of the adjacent slices that are channels; they are stacked batch by batch. None if
            the channels are already stacked in the volume.
        views: Number of ``MIRRORED`` views whose probabilities are averaged; more than one requires offsets that are
            symmetric about 0. All but the first are run only around voxels that the first view marks.
        attention: Also return the coefficients of the finest attention gate (eq. 6) of the first view.
        before_pass: Called before each forward pass.

    Returns:
        Logits, shape (1, 256, 256, D), on the CPU, very negative for skipped slices; and the coefficients in [0, 1],
        same shape, or None.
    """
    first, last = lung_slices

    def forward(image: torch.Tensor, **options: bool) -> Any:
        before_pass(start - first, last - first)
        return network(image, **options)

    device = next(network.parameters()).device
    logits = torch.full((1, *volume.shape[1:]), _LOGIT_OF_NO_TUMOUR)
    weights = torch.zeros_like(logits) if attention else None
    air = volume.min()
    at_once = max(1, _PIXELS_AT_ONCE // volume[0, ..., 0].numel()) if device.type == "cpu" else batch_size
    for start in range(first, last, batch_size):
        stop = min(start + batch_size, last)
        seen = volume[..., start:stop] if offsets is None else adjacent_slices(volume, offsets, start, stop, air)
        batch = seen.permute(3, 0, 1, 2).to(device, memory_format=torch.channels_last)
        passes = [forward(part, return_attention=True) for part in batch.split(at_once)]
        found = torch.cat([one for one, _ in passes])
        if views > 1:
            found = _mean_of_views(forward, cast(int, network.stride), batch, found, MIRRORED[1:views], at_once)
        logits[0, ..., start:stop] = found[:, 0].permute(1, 2, 0).cpu()
        if weights is not None and passes[0][1]:
            gates = torch.cat([coefficients[0] for _, coefficients in passes])
            weights[0, ..., start:stop] = gates[:, 0].permute(1, 2, 0).cpu()
    return logits, weights


def _mean_of_views(
    forward: Callable[[torch.Tensor], torch.Tensor],
    stride: int,
    slices: torch.Tensor,
    first: torch.Tensor,
    mirrored: Sequence[tuple[int, ...]],
    at_once: int,
) -> torch.Tensor:
    """Return the logits of the first view, with those near marked voxels replaced by the mean of all views."""
    mean = first.clone()
    probability = first.sigmoid()
    for windows in _windows(probability, stride):
        parts = torch.stack([slices[window.place] for window in windows])
        as_large = at_once * slices[0, 0].numel() // parts[0, 0].numel()  # as many pixels as in a batch of whole slices
        none = torch.zeros((), device=first.device)
        others = sum((_mirrored_probability(forward, parts, axes, as_large) for axes in mirrored), none)
        for window, other in zip(windows, others, strict=True):
            logits = ((probability[window.place] + other) / (1 + len(mirrored))).logit(eps=1e-6)
            mean[window.place] = torch.where(window.near, logits, mean[window.place])
    return mean


def _mirrored_probability(
    forward: Callable[[torch.Tensor], torch.Tensor], parts: torch.Tensor, axes: tuple[int, ...], at_once: int
) -> torch.Tensor:
    """Return the probability of a mirrored view in the original orientation."""
    found = torch.cat([forward(part.flip(axes)) for part in parts.split(at_once)])
    return found.flip([axis for axis in axes if axis != _CHANNEL]).sigmoid()


@dataclass(frozen=True)
class _Window:
    """Part of a slice on which the mirrored views are run.

    Attributes:
        place: Index into (slice, channel, X, Y).
        near: Pixels near marked ones, bool, (X, Y); each pixel belongs to one window only.
    """

    place: tuple[int | slice, ...]
    near: torch.Tensor


def _windows(probability: torch.Tensor, stride: int) -> Iterable[list[_Window]]:
    """Return windows around possible tumour, in lists of equal shape, which can share forward passes.

    Args:
        probability: Probability of tumour in the first view, (slice, 1, X, Y).
        stride: Sides are multiples of twice this value.
    """
    windows = defaultdict(list)
    for index, found in enumerate((probability[:, 0] >= _SECOND_PASS_PROBABILITY).cpu().numpy()):
        # 4-connected areas of a slice to run again, not findings, which are 26-connected.
        areas, _ = ndimage.label(ndimage.maximum_filter(found, 2 * _SECOND_PASS_MARGIN_PX + 1))
        for number, box in enumerate(ndimage.find_objects(areas), start=1):
            cuts = tuple(_widened(cut, 2 * stride, length) for cut, length in zip(box, areas.shape, strict=True))
            near = torch.from_numpy(areas[cuts] == number).to(probability.device)
            windows[near.shape].append(_Window((index, slice(None), *cuts), near))
    return windows.values()


def _widened(cut: slice, step: int, length: int) -> slice:
    """Return an enlarged slice whose length is a multiple of ``step``, or the whole length."""
    side = min(-(-(cut.stop - cut.start) // step) * step, length)
    start = min(max((cut.start + cut.stop - side) // 2, 0), length - side)
    return slice(start, start + side)
