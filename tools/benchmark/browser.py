"""Times that a reader waits for in OHIF, measured in Chromium with software rendering."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import requests
from playwright.sync_api import Page

from tools.support.chromium import MPR_VIEWPORTS, VOLUME_LOADED, running_chromium

_SCREEN = {"width": 1366, "height": 768}
_TIMEOUT_MS = 600_000
_STROKES = 5  # for each time that the scan is opened

# Milliseconds from the start of the navigation until an image with pixels is drawn.
_FIRST_IMAGE = """() => {
    window.addEventListener('CORNERSTONE_IMAGE_RENDERED', event => {
        const viewport = window.services?.cornerstoneViewportService.getCornerstoneViewport(event.detail.viewportId);
        const volume = viewport?.getVolumeId?.() && window.cornerstone.cache.getVolume(viewport.getVolumeId());
        if (volume?.framesLoaded > 0) window.firstImage ??= performance.now();
    }, {capture: true});
}"""
# Sets window.took[type]: promises of the milliseconds from the next event of a type to what can be seen of it: "drawn",
# a plane after a change of the mask; "listed", the table of findings; "told", the message of success.
_WATCH = """type => {
    const {eventTarget} = window.cornerstone, rendered = 'CORNERSTONE_IMAGE_RENDERED';
    const modified = window.cornerstoneTools.Enums.Events.SEGMENTATION_DATA_MODIFIED;
    let began = Infinity, changed = false;
    window.addEventListener(type, () => (began = performance.now()), {capture: true, once: true});
    eventTarget.addEventListener(modified, () => (changed ||= began < Infinity));
    const after = connect => new Promise(resolve => connect(() => {
        if (began < Infinity) resolve(performance.now() - began);
    }));
    const seen = (selector, isThere) => after(done => new MutationObserver(() => isThere() && done())
        .observe(document.querySelector(selector), {childList: true, subtree: true, attributes: true}));
    const message = document.querySelector('[data-part="message"]');
    (window.took ??= {})[type] = {
        drawn: after(done => window.addEventListener(rendered, () => changed && done(), {capture: true})),
        listed: seen('[data-findings="table"]', () => true),
        told: seen('.lunglabel-foot', () => message.className === 'success' && message.textContent.includes('stored')),
    };
}"""
# Milliseconds of the panel's own work since the last call; it measures itself, see lib/viewer/panel/timing.js.
_PANEL_WORKED = """() => {
    const own = performance.getEntriesByType('measure').filter(({name}) => name.startsWith('lunglabel '));
    performance.clearMeasures();
    return own.reduce((sum, {duration}) => sum + duration, 0);
}"""
_MIDDLE = """() => {
    const box = document.querySelector('[data-viewport-uid="mpr-axial"]').getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
}"""


@dataclass(frozen=True)
class Waited:
    """Seconds by what was waited for.

    Attributes:
        seconds: Median by name.
        longest: Maximum by name.
        counts: Number of measurements by name.
    """

    seconds: Mapping[str, float]
    longest: Mapping[str, float]
    counts: Mapping[str, int]


def measure(url: str, series_uid: str, rounds: int = 3) -> Waited:
    """Open a scan, segment it, paint, undo and submit, several times.

    Args:
        url: Base URL of the server.
        series_uid: The scan; the only series of its study that is a CT, or the first.
        rounds: How often it is opened.

    Raises:
        UserError: Chromium is not installed.
    """
    info = requests.get(f"{url}/datastore/image/info", params={"image": series_uid}, timeout=60).json()
    address = f"{url}/ohif/monai-label?StudyInstanceUIDs={info['StudyInstanceUID']}"
    times: dict[str, list[float]] = {}
    with running_chromium() as browser:
        for _ in range(rounds):
            context = browser.new_context(viewport=_SCREEN)
            page = context.new_page()
            page.set_default_timeout(_TIMEOUT_MS)
            page.on("dialog", lambda dialog: dialog.accept())
            for name, seconds in _read_case(page, address):
                times.setdefault(name, []).append(seconds)
            context.close()
    return Waited(
        {name: statistics.median(values) for name, values in times.items()},
        {name: max(values) for name, values in times.items()},
        {name: len(values) for name, values in times.items()},
    )


def _read_case(page: Page, address: str) -> list[tuple[str, float]]:
    page.add_init_script(f"({_FIRST_IMAGE})()")
    page.goto(address)
    page.wait_for_function(VOLUME_LOADED, arg=list(MPR_VIEWPORTS))
    first, loaded = page.evaluate("() => [window.firstImage, performance.now()]")
    page.locator('[data-tool="brush"]:enabled').wait_for()
    times = [("open to first image", first / 1000), ("open to all slices", loaded / 1000)]
    page.evaluate(_WATCH, "click")
    page.locator('button[title="Run Segmentation"]').click()
    times += [("run to mask shown", _took(page, "click", "drawn"))]
    page.locator('[data-tool="brush"]:enabled').click()
    for number in range(_STROKES):
        times += _stroke_and_undo(page, number)
    _stroke(page, 0)
    page.locator('[data-part="annotator"]').fill("Benchmark")
    page.evaluate(_WATCH, "click")
    page.locator('[data-part="submit"]').click()
    return [*times, ("submit", _took(page, "click", "told"))]


def _stroke_and_undo(page: Page, number: int) -> list[tuple[str, float]]:
    for event in ("pointerdown", "pointerup"):
        page.evaluate(_WATCH, event)
    page.evaluate(_PANEL_WORKED)
    _stroke(page, number)
    times = [("stroke", _took(page, "pointerdown", "drawn")), ("list update", _took(page, "pointerup", "listed"))]
    times.append(("panel's part of a stroke", page.evaluate(_PANEL_WORKED) / 1000))
    page.evaluate(_WATCH, "keydown")
    page.keyboard.press("Control+z")
    return [*times, ("undo", _took(page, "keydown", "drawn"))]


def _stroke(page: Page, number: int) -> None:
    """Draw a short stroke in the axial plane, each time elsewhere."""
    x, y = page.evaluate(_MIDDLE)
    page.mouse.move(x - 60 + 25 * number, y - 40)
    page.mouse.down()
    page.mouse.move(x - 40 + 25 * number, y - 20, steps=6)
    page.mouse.up()


def _took(page: Page, event: str, what: str) -> float:
    return page.evaluate("([event, what]) => window.took[event][what]", [event, what]) / 1000
