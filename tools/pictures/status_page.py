"""Picture of the status page after a training."""

from __future__ import annotations

from pathlib import Path

import requests
from playwright.sync_api import Browser, ViewportSize

from lib.phantoms import DemoSeries
from tools.support.labelling import put_truth
from tools.support.waiting import wait_for

_SCREEN: ViewportSize = {"width": 1200, "height": 800}
_TIMEOUT_SECONDS = 1800
_SETTLED_MS = 3000


def take(browser: Browser, url: str, labelled: list[DemoSeries], output: Path) -> None:
    """Label phantoms with their true masks, train, and take a picture of the whole page.

    Args:
        browser: Chromium.
        url: Base URL of a server on these phantoms.
        labelled: Those to label.
        output: Folder of ``status.png``.
    """
    for series in labelled:
        put_truth(url, series)
    requests.post(f"{url}/train/lung_tumor", json={}, timeout=60).raise_for_status()

    def is_done() -> bool:
        return requests.get(f"{url}/train/", timeout=60).json()["status"] not in ("SUBMITTED", "RUNNING")

    wait_for(is_done, "the end of the training", seconds=_TIMEOUT_SECONDS, interval=1)
    page = browser.new_context(viewport=_SCREEN).new_page()
    page.goto(f"{url}/status")
    page.wait_for_timeout(_SETTLED_MS)
    of_machine = page.locator("#studies, #settings-section")  # paths
    of_machine.evaluate_all("elements => elements.forEach(element => element.remove())")
    page.screenshot(path=output / "status.png", full_page=True)
    page.context.close()
