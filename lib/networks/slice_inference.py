"""The two-dimensional network over a volume, slice by slice in batches; slices without lung cost nothing."""

from __future__ import annotations

import torch
from torch import nn

# Axes of (slice, channel, X, Y) along which each view is turned over. Channels are slices above and below.
MIRRORED = ((), (1, 2), (3,), (1, 2, 3))
_CHANNEL = 1
_LOGIT_OF_NO_TUMOUR = -20.0
_WORTH_A_SECOND_LOOK = 0.1  # probability somewhere in the slice


@torch.inference_mode()
def infer_slices(
    network: nn.Module,
    volume: torch.Tensor,
    lung_slices: tuple[int, int],
    batch_size: int,
    *,
    views: int = 1,
    attention: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run the network on each slice that shows lung.

    Args:
        network: ``AttentionResidualUNet`` in evaluation mode; decides the device.
        volume: What ``image_transforms`` make, shape (C, 256, 256, D).
        lung_slices: First slice with lung and the one after the last.
        batch_size: Slices brought to the device at a time. A GPU takes them all in one forward pass; a CPU one
            by one, because the features of one slice stay in its cache: measured a third faster than eight.
        views: Of how many of ``MIRRORED`` the probability is averaged; the slices that are channels must then lie
            alike above and below. A slice in which the first view shows next to nothing is not looked at again.
        attention: Also return the coefficients of the finest attention gate (eq. 6), of the first view.

    Returns:
        Logits, shape (1, 256, 256, D), on the CPU, very negative where the network was not asked; and the
        coefficients in [0, 1] of the same shape, or None.
    """
    device = next(network.parameters()).device
    logits = torch.full((1, *volume.shape[1:]), _LOGIT_OF_NO_TUMOUR)
    weights = torch.zeros_like(logits) if attention else None
    slices = volume.permute(3, 0, 1, 2)
    at_once = 1 if device.type == "cpu" else batch_size
    for start in range(*lung_slices, batch_size):
        stop = min(start + batch_size, lung_slices[1])
        batch = slices[start:stop].to(device, memory_format=torch.channels_last)
        passes = [network(part, return_attention=True) for part in batch.split(at_once)]
        found = torch.cat([one for one, _ in passes])
        if views > 1:
            again = found.sigmoid().amax((1, 2, 3)) >= _WORTH_A_SECOND_LOOK
            if again.any():
                found[again] = _mean_of_views(network, batch[again], found[again], MIRRORED[1:views], at_once)
        logits[0, ..., start:stop] = found[:, 0].permute(1, 2, 0).cpu()
        if weights is not None and passes[0][1]:
            gates = torch.cat([coefficients[0] for _, coefficients in passes])
            weights[0, ..., start:stop] = gates[:, 0].permute(1, 2, 0).cpu()
    return logits, weights


def _mean_of_views(
    network: nn.Module, slices: torch.Tensor, first: torch.Tensor, mirrored: tuple[tuple[int, ...], ...], at_once: int
) -> torch.Tensor:
    """Logits of the mean probability of the first view, whose logits are given, and of mirrored ones."""
    probability = first.sigmoid()
    for axes in mirrored:
        seen = torch.cat([network(part.flip(axes)) for part in slices.split(at_once)])
        probability += seen.flip([axis for axis in axes if axis != _CHANNEL]).sigmoid()
    return (probability / (1 + len(mirrored))).logit(eps=1e-6)
