"""Response times of the server during an inference."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from tools.benchmark.server import FRESH, wait_for_images


def info_seconds(url: str, seconds: float) -> list[float]:
    """Request ``/info/`` repeatedly for ``seconds``; return the response times in seconds."""
    taken = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        requests.get(f"{url}/info/", timeout=60).raise_for_status()
        taken.append(time.perf_counter() - start)
        time.sleep(0.02)
    return taken


def info_during_inference(url: str) -> tuple[float, float, float]:
    """Return the median response time of ``/info/`` when idle and during an inference, and that inference's seconds."""
    image = wait_for_images(url)[0]
    requests.get(f"{url}/datastore/image", params={"image": image}, timeout=600)
    idle = statistics.median(info_seconds(url, 3))

    def infer() -> float:
        start = time.perf_counter()
        query = {"image": image}
        requests.post(f"{url}/infer/lung_tumor", params=query, data=FRESH, timeout=3600).raise_for_status()
        return time.perf_counter() - start

    infer()  # loads the weights
    busy: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(infer)
        while not running.done():  # the request has a timeout
            busy += info_seconds(url, 0.2)
    return idle, statistics.median(busy), running.result()


def first_volume(url: str, path: Path) -> Path:
    """Save the volume of the server's first image; return ``path``."""
    reply = requests.get(f"{url}/datastore/image", params={"image": wait_for_images(url)[0]}, timeout=600)
    reply.raise_for_status()
    path.write_bytes(reply.content)
    return path
