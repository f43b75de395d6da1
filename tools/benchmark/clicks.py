"""Time from the request for an outline to its answer, over HTTP."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import requests
import SimpleITK as sitk

from lib.geometry.connected_components import connected_components
from lib.phantoms import write_demo_studies
from tools.support.waiting import wait_for

_ROUNDS = 8
_TIMEOUT = 120


@dataclass(frozen=True)
class ClickTimes:
    """Durations in seconds, from a request to the end of its answer.

    Attributes:
        count: Number of clicks.
        first: Longest first click on a scan whose volume is there.
        median: Median of all other clicks.
        percentile_95: Their 95th percentile.
    """

    count: int
    first: float
    median: float
    percentile_95: float


def write_lesions(studies: Path) -> dict[str, list[int]]:
    """Write the demo studies; return a voxel (column, row, slice) in the largest lesion of each series with lesions."""
    with tempfile.TemporaryDirectory() as truth:
        written = write_demo_studies(studies, truth=Path(truth))
        return {one.series_uid: middle_of_largest(one.truth) for one in written if one.lesions and one.truth}


def measure(url: str, lesions: Mapping[str, list[int]]) -> ClickTimes:
    """Click at lesions of a server's scans in turn, as the viewer does: with ``region`` and the former mask.

    Args:
        url: Base URL of the server.
        lesions: A voxel of a lesion by series.
    """
    for series in lesions:  # creates the volumes, as opening a study does; a series may still be incomplete
        wait_for(lambda series=series: _is_ready(url, series), f"the volume of {series}", seconds=_TIMEOUT)
    _click(url, *next(iter(lesions.items())))  # loads the weights
    first, others = [], []
    for series, voxel in lesions.items():
        seconds, former = _click(url, series, voxel)
        first.append(seconds)
        for _ in range(_ROUNDS):
            seconds, former = _click(url, series, voxel, former)
            others.append(seconds)
    return ClickTimes(len(first) + len(others), max(first), statistics.median(others), float(np.percentile(others, 95)))


def _is_ready(url: str, series: str) -> bool:
    return requests.get(f"{url}/datastore/image", params={"image": series}, timeout=_TIMEOUT).ok


def _click(url: str, series: str, voxel: list[int], former: Any = None) -> tuple[float, Any]:
    """Return the seconds of a click, and the region of the answer."""
    params = {"foreground": [voxel], "region": True} | ({"former": former} if former else {})
    start = time.perf_counter()
    answer = requests.post(
        f"{url}/infer/lung_tumor_click",
        params={"image": series},
        data={"params": json.dumps(params)},
        timeout=_TIMEOUT,
    )
    answer.raise_for_status()
    region = answer.json()["region"]
    return time.perf_counter() - start, region


def middle_of_largest(mask: Path) -> list[int]:
    """Return the voxel (column, row, slice) in the middle of the largest lesion of a mask."""
    components, _ = connected_components(sitk.GetArrayFromImage(sitk.ReadImage(str(mask))))
    largest = np.bincount(components.ravel())[1:].argmax() + 1
    places = np.argwhere(components == largest)
    return places[np.abs(places - places.mean(0)).sum(1).argmin()][::-1].tolist()
