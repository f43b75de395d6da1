"""Headless Chromium without a GPU, and the planes of the viewer in it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, sync_playwright

from lib.errors import UserError

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]

MPR_VIEWPORTS = ("mpr-axial", "mpr-sagittal", "mpr-coronal")

# Whether some planes of the viewer have all their slices.
VOLUME_LOADED = """ids => ids.every(id => {
    const viewport = window.services?.cornerstoneViewportService.getCornerstoneViewport(id);
    const volumeId = viewport?.getVolumeId?.();
    return volumeId && window.cornerstone.cache.getVolume(volumeId)?.loadStatus.loaded;
})"""


@contextlib.contextmanager
def running_chromium() -> Iterator[Browser]:
    """Run Chromium within the context.

    Raises:
        UserError: It is not installed.
    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise UserError(f"No browser was found; install one of {', '.join(PROGRAMS)}.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS, headless=False, timeout=120_000)
        yield browser
        browser.close()
