"""Access to the images of the measured server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import requests

from tools.support.processes import ServerProcess
from tools.support.waiting import wait_for

FRESH = {"params": '{"fresh": true}'}
"""Form of a request for an inference that is computed, also if it was before."""

StartServer = Callable[[Path, Path], AbstractContextManager[ServerProcess]]
_LISTING_SECONDS = 7200  # for the longest scans


def wait_for_images(url: str) -> list[str]:
    """Wait until the server lists at least one image; return the SeriesInstanceUIDs."""

    def images() -> list[str]:
        reply = requests.get(f"{url}/datastore/", params={"output": "all"}, timeout=600)
        reply.raise_for_status()
        return list(reply.json()["objects"])

    return wait_for(images, f"the first image of {url}", seconds=_LISTING_SECONDS, interval=0.5)
