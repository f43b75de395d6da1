"""Duration of an inference during a training, compared with the same inference on an idle server."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import requests

from lib.phantoms import DemoSeries
from tools.benchmark.server import FRESH
from tools.support.labelling import put_truth
from tools.support.processes import ServerProcess
from tools.support.usage import cpu_seconds
from tools.support.waiting import wait_for

_TIMEOUT = 1800
_ENDLESS = {"max_epochs": 100_000, "folds": 0}


@dataclass(frozen=True)
class Busy:
    """Duration of the same inference on an idle server and during a training.

    Attributes:
        alone: Seconds of each inference on the idle server.
        during: Seconds of each inference during the training.
        epochs: Epochs completed by the training meanwhile.
        cores: Average number of cores used by the training meanwhile.
    """

    alone: tuple[float, ...]
    during: tuple[float, ...]
    epochs: int
    cores: float

    @property
    def ratio(self) -> float:
        """Return the ratio of the medians, during a training to alone; 1 if the training has no effect."""
        return statistics.median(self.during) / statistics.median(self.alone)


def measure(server: ServerProcess, series: list[DemoSeries], rounds: int = 5, **training: Any) -> Busy:
    """Label some series, time an inference, start a training, and time the inference again.

    Args:
        server: Real server with background scoring disabled.
        series: Series to label with their true masks and to train on; the first is segmented.
        rounds: Number of inferences per median.
        training: Additional settings of the training, which is configured not to end by itself.
    """
    image = series[0].series_uid
    for one in series:
        put_truth(server.url, one)
    _infer(server.url, image)  # creates the volume and loads the weights
    alone = tuple(_infer(server.url, image) for _ in range(rounds))
    with _training(server, training) as (epoch, process):
        first, began, spent = epoch(), time.perf_counter(), cpu_seconds(process.pid)
        during = tuple(_infer(server.url, image) for _ in range(rounds))
        cores = (cpu_seconds(process.pid) - spent) / (time.perf_counter() - began)
        return Busy(alone, during, epoch() - first, cores)


@contextlib.contextmanager
def _training(server: ServerProcess, settings: dict[str, Any]) -> Iterator[tuple[Callable[[], int], psutil.Process]]:
    """Run a training; after its first epoch, yield a function that returns the current epoch, and its process."""
    answer = requests.post(f"{server.url}/train/lung_tumor", json={**_ENDLESS, **settings}, timeout=60)
    answer.raise_for_status()
    started = time.time()

    def epoch() -> int:
        task = requests.get(f"{server.url}/train/", timeout=60).json()
        if task["status"] not in ("SUBMITTED", "RUNNING"):
            raise RuntimeError("The training ended:\n" + "\n".join(task.get("details", ())))
        stats = requests.get(f"{server.url}/info/", timeout=60).json()["train_stats"]["lung_tumor"]
        return stats.get("epoch", 0) if stats.get("updated", 0) > started else 0

    try:
        wait_for(epoch, f"the first epoch; log: {server.log}", seconds=_TIMEOUT, interval=0.5)
        (process,) = psutil.Process(server.process.pid).children()
        yield epoch, process
    finally:
        requests.delete(f"{server.url}/train/", timeout=60)


def _infer(url: str, image: str) -> float:
    began = time.perf_counter()
    query = {"image": image, "output": "image"}
    requests.post(f"{url}/infer/lung_tumor", params=query, data=FRESH, timeout=3600).raise_for_status()
    return time.perf_counter() - began
