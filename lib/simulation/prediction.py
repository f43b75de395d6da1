"""Probability maps of many small volumes, for uncertainty scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from lib.activelearning.uncertainty import probability_maps
from lib.inference.crops import crop_batches, tumour_probability
from lib.training.scans import Scan


def scan_maps(
    measure: str, network: nn.Module, scans: Sequence[Scan], preprocessing: Mapping[str, Any]
) -> Iterator[tuple[Scan, list[torch.Tensor]]]:
    """Yield each scan with the probability maps for an uncertainty measure, in the shape of the scan.

    Unlike the server's scores, only one view is used, because a simulation runs the network hundreds of times over its
    pool.

    Args:
        measure: One of ``MEASURES``.
        network: ``AttentionResidualUNet`` in evaluation mode.
        scans: Crops or whole scans; yielded in another order.
        preprocessing: Section ``preprocessing`` of info.yaml.
    """
    predict = partial(tumour_probability, network)
    for batch in crop_batches(scans, preprocessing):
        maps = probability_maps(measure, predict, batch.volume)
        for scan, *own in zip(batch.crops, *map(batch.split, maps), strict=True):
            yield scan, own
