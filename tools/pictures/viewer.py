"""Pictures of a scan in OHIF."""

from __future__ import annotations

from pathlib import Path

import requests
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect

from tools.support.chromium import MPR_VIEWPORTS, VOLUME_LOADED

_SCREEN: ViewportSize = {"width": 1600, "height": 900}
_TIMEOUT_MS = 600_000
_SETTLED_MS = 3000  # after the last change, for textures and hints to be drawn or gone
# Ends of an axis across the finding in the middle of the axial plane, as shares of the distance to its border.
_AXIS = ((-0.42, -0.2), (0.46, 0.2))


def take(browser: Browser, url: str, series_uid: str, output: Path) -> None:
    """Segment a scan, and take pictures of its two most confident findings and of the first one measured.

    Of a scan with three annotations of other programs, a picture of these comes first.

    Args:
        browser: Chromium.
        url: Base URL of a server.
        series_uid: The scan; the only CT of its study, or the first.
        output: Folder of ``ohif.png``, ``ohif-finding.png``, ``ohif-ruler.png`` and ``ohif-stored.png``.
    """
    info = requests.get(f"{url}/datastore/image/info", params={"image": series_uid}, timeout=60).json()
    page = browser.new_context(viewport=_SCREEN).new_page()
    page.set_default_timeout(_TIMEOUT_MS)
    expect.set_options(timeout=_TIMEOUT_MS)
    page.goto(f"{url}/ohif/monai-label?StudyInstanceUIDs={info['StudyInstanceUID']}")
    page.wait_for_function(VOLUME_LOADED, arg=list(MPR_VIEWPORTS))
    page.locator('[data-tool="brush"]:enabled').wait_for()
    if len(requests.get(f"{url}/viewer/case", params={"image": series_uid}, timeout=60).json()["stored"]) >= 3:
        _compare(page)
        _shoot(page, output / "ohif-stored.png")
    page.locator('button[title="Run Segmentation"]').click()
    findings = page.locator('[data-findings="table"] tbody tr:not(.lunglabel-note)')
    findings.first.wait_for()
    _shoot(page, output / "ohif.png")  # the first finding, which is shown at once
    page.keyboard.press("f")
    _shoot(page, output / "ohif-finding.png")
    findings.first.locator('[data-control="show"]').click()
    _measure(page)
    _describe(page, findings.first)
    _shoot(page, output / "ohif-ruler.png")
    page.context.close()


def _compare(page: Page) -> None:
    """Load the first of what is stored for the scan, show the second, and compare the third with the mask."""
    rows = page.locator('[data-part="storedRows"] li')
    rows.nth(0).get_by_role("button", name="Load").click()
    page.locator('[data-part="message"].success').wait_for()
    rows.nth(1).get_by_role("button", name="Show").click()
    rows.nth(2).get_by_role("button", name="Compare").click()
    page.locator('[data-part="comparison"]').wait_for()


def _shoot(page: Page, path: Path) -> None:
    expect(page.locator('[data-part="message"].success')).to_have_count(0)
    page.wait_for_timeout(_SETTLED_MS)
    page.screenshot(path=path)


def _measure(page: Page) -> None:
    """Draw a long axis over the finding in the middle of the axial plane."""
    page.locator('[data-tool="bidirectional"]').click()
    box = page.locator('[data-viewport-uid="mpr-axial"]').bounding_box()
    assert box is not None, "the axial plane is on the screen"
    half = min(box["width"], box["height"]) / 2
    for number, (x, y) in enumerate(_AXIS):
        page.mouse.move(box["x"] + box["width"] / 2 + x * half, box["y"] + box["height"] / 2 + y * half, steps=8)
        if number == 0:
            page.mouse.down()
    page.mouse.up()
    page.locator('[data-part="measurements"] li').wait_for()
    page.locator('[data-tool="bidirectional"]').click()
    page.mouse.click(box["x"] + 20, box["y"] + box["height"] - 80)  # deselects the measurement


def _describe(page: Page, finding: Locator) -> None:
    """Accept the finding shown, and say what it looks like."""
    finding.locator('[data-control="accept"]').click()
    finding.locator('[data-control="show"]').click()
    page.locator(".lunglabel-note select").select_option("solid")
    page.locator(".lunglabel-note input").fill("Lobulated")
    page.locator(".lunglabel-note input").press("Enter")
