"""The steps of a reader through a case in OHIF, and what is on the screen after them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.ohif import Labelmap, Ohif, Point
from tools.support.chromium import MPR_VIEWPORTS, VOLUME_LOADED
from tools.support.waiting import wait_for

SIZES = {"laptop": (1366, 768), "desktop": (1920, 1080)}
# Two strokes on axial slices with some between them, LPS in mm, far from the lesions of the phantoms.
FIRST_STROKE, LAST_STROKE = (((70, -20, z), (52, -20, z)) for z in (28, 40))

BETWEEN_STROKES = (61, -20, 34)

# Closed and straight lines in a plane, far from the lesions of the phantoms, LPS in mm.
SQUARE = ((40, 20, 44), (70, 20, 44), (70, 50, 44), (40, 50, 44))
IN_SQUARE = (55, 35, 44)
CORNER = ((36, 30, 40), (50, 30, 40), (50, 30, 50), (36, 30, 50))
ACROSS = ((55, 10, 44), (55, 60, 44))
HALF = ((20, -140, 44), (200, -140, 44), (200, 140, 44), (20, 140, 44))

CAMERAS = """ids => ids.map(id => {
    const viewport = window.services.cornerstoneViewportService.getCornerstoneViewport(id);
    const {focalPoint, parallelScale} = viewport.getCamera();
    const {lower, upper} = viewport.getProperties().voiRange;
    const {clientWidth, clientHeight} = viewport.canvas;
    return {focalPoint, parallelScale, width: upper - lower + 1, area: clientWidth * clientHeight};
})"""

OTHER_VIEWPORT = "lunglabel-other"

PLACES = """ids => ids.map(id => {
    const viewport = window.services.cornerstoneViewportService.getCornerstoneViewport(id);
    return viewport?.getCamera().focalPoint;
})"""

IS_SHOWN = """id => window.cornerstoneTools.segmentation.config.visibility
    .getSegmentationRepresentationVisibility(id, {segmentationId: '1', type: 'Labelmap'})"""

RULERS = """() => window.cornerstoneTools.annotation.state.getAllAnnotations()
    .filter(one => ['Length', 'Bidirectional'].includes(one.metadata.toolName))
    .map(one => one.data.handles.points.map(point => Array.from(point)))"""

# Ends of a long axis across what the strokes paint, and of a length beside it, LPS in mm.
LONG_AXIS = ("mpr-coronal", (72, -20, 42), (50, -20, 28))
LENGTH = ("mpr-sagittal", (60, -60, 10), (60, -30, 50))

# The order of some controls for the Tab key; it is that on the screen, from the top to the bottom.
FOCUS_ORDER = """() => [...document.querySelectorAll(`[data-status="train"], button[title="Run Segmentation"],
    [data-tool="click"], [data-part="view"], [data-part="submit"]`)].map(element => {
    const {status, tool, part} = element.dataset;
    return status ?? tool ?? part ?? element.textContent.trim();
})"""

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
RUN_AXE = """async selector => {
    const rules = ['wcag2a', 'wcag2aa', 'wcag21aa'];
    const {violations} = await axe.run({include: [[selector]]}, {runOnly: rules});
    return violations.map(one => [one.id, one.nodes.map(node => node.html)]);
}"""


class Reading:
    """A case on the screen.

    Args:
        ohif: The viewer.
    """

    def __init__(self, ohif: Ohif) -> None:
        self.ohif = ohif
        self.page = ohif.page
        self.findings = self.page.locator('[data-findings="table"] tbody tr:not(.lunglabel-note)')
        self.measured = self.part("measurements").locator("li")
        self.stored = self.page.locator('[data-part="storedRows"] li')

    def part(self, name: str) -> Locator:
        """Return a part of the panel."""
        return self.page.locator(f'[data-part="{name}"]')

    def state_of(self, study_uid: str) -> Locator:
        """Return the state of a study in the study list."""
        return self.page.locator(f'[data-cy="studyRow-{study_uid}"] .lunglabel-state')

    def cameras(self) -> list[dict[str, Any]]:
        """Return focal point, zoom, window and area of each plane."""
        return self.page.evaluate(CAMERAS, list(MPR_VIEWPORTS))

    def check_first_view(self) -> None:
        """Check that the lungs are shown in a large axial plane, and the rest of the screen is used at both sizes."""
        page, size = self.page, self.page.viewport_size
        for width, height in SIZES.values():
            page.set_viewport_size({"width": width, "height": height})
            for part in ("submit", "next", "annotator", "note"):
                box = self.part(part).bounding_box()
                assert box["x"] + box["width"] <= width and box["y"] + box["height"] <= height, (part, width)
        page.set_viewport_size(size)
        order = page.evaluate(FOCUS_ORDER)
        assert order == ["train", "Run", "click", "view", "submit"], order
        axial, sagittal, _ = cameras = self.cameras()
        assert [camera["width"] for camera in cameras] == [1500] * 3
        assert axial["area"] > 3 * sagittal["area"]
        assert page.locator('[data-cy="study-browser-thumbnail"]').count() == 0, "the list of series is folded"
        page.keyboard.press("1")
        assert self.cameras()[2]["width"] == 400
        page.keyboard.press("2")
        expect(self.part("result")).to_contain_text("No mask yet")

    def check_keys(self) -> None:
        """Check F to the end of the list and back, H, and the list of keys."""
        page, count = self.page, self.findings.count()
        shown = self.cameras()[0]
        for _ in range(count):  # after the last, the whole image
            page.keyboard.press("f")
        whole = self.cameras()[0]["parallelScale"]
        assert whole > 2 * shown["parallelScale"]
        page.keyboard.down("h")
        assert not any(page.evaluate(IS_SHOWN, viewport) for viewport in MPR_VIEWPORTS)
        page.keyboard.up("h")
        assert all(page.evaluate(IS_SHOWN, viewport) for viewport in MPR_VIEWPORTS)
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keys")).to_contain_text("accept the finding shown")
        page.keyboard.press("Escape")
        page.keyboard.press("f")
        expect(self.findings.nth(0)).to_have_attribute("aria-current", "true")
        camera = self.cameras()[0]
        assert whole > 2 * camera["parallelScale"]
        assert self._is_marked(camera["focalPoint"])

    def check_former_study(self, higher: float) -> None:
        """Put the earlier study beside the scan: linked planes, growth in the list, nothing to edit there.

        Args:
            higher: How much higher the patient lay in it, mm.
        """
        ohif, page = self.ohif, self.page
        expect(self.part("other")).to_contain_text("2025-01-05 · 4 mm · PHANTOM · Chest · labelled")
        growth = page.locator(".lunglabel-growth")
        expect(growth).to_have_text(re.compile(r"^2025-01-05: 4\.0 ml, now \+300 %; doubles in 183 days \(95 %: "))
        self.part("beside").click()
        page.wait_for_function(VOLUME_LOADED, arg=["mpr-axial", OTHER_VIEWPORT])
        expect(self.part("otherText")).to_contain_text("Registered, correlation")
        self._wait_for_planes(higher)
        marked = ohif.labelmap().values
        box = page.locator(f'[data-viewport-uid="{OTHER_VIEWPORT}"]').bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        before = self._places()[0][2]
        page.mouse.wheel(0, 100)
        wait_for(lambda: abs(self._places()[0][2] - before) > 1, "the planes to scroll", seconds=20)
        self._wait_for_planes(higher)
        page.keyboard.press("b")
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2 + 40, box["y"] + box["height"] / 2, steps=5)
        page.mouse.up()
        assert np.array_equal(ohif.labelmap().values, marked), "the other study must not be edited"
        (start, end) = FIRST_STROKE
        ohif.show_in(start, "mpr-axial")
        ohif.stroke("mpr-axial", start, end)
        assert self._is_marked(np.mean(FIRST_STROKE, axis=0))
        ohif.undo()
        page.keyboard.press("b")
        assert np.array_equal(ohif.labelmap().values, marked)

    def leave_former_study(self) -> None:
        """Go back to the three planes."""
        self.part("beside").click()
        self.page.wait_for_function(VOLUME_LOADED, arg=list(MPR_VIEWPORTS))
        expect(self.part("beside")).to_be_enabled()
        assert all(self.page.evaluate(IS_SHOWN, viewport) for viewport in MPR_VIEWPORTS)
        for _ in range(self.findings.count() + 1):  # to the end of the list and back to the first
            self.page.keyboard.press("f")

    def _places(self) -> list[Point]:
        """Return where the axial plane and that of the other study look, LPS mm."""
        return self.page.evaluate(PLACES, ["mpr-axial", OTHER_VIEWPORT])

    def _wait_for_planes(self, higher: float) -> None:
        """Wait until both planes show the same place."""

        def are_linked() -> bool:
            own, other = np.array(self._places())
            return bool(np.abs(own - [0, 0, higher] - other).max() < 2)

        wait_for(are_linked, "linked planes", seconds=60)

    def paint_with_a_gap_and_fill(self) -> None:
        """Paint a lesion on two slices only, and fill between them; undo and redo that."""
        ohif = self.ohif
        assert not self._is_marked(BETWEEN_STROKES)
        ohif.choose_tool("brush", diameter=12)
        for stroke in (FIRST_STROKE, LAST_STROKE):
            ohif.show(stroke[0])
            ohif.stroke("mpr-axial", *stroke)
            assert self._is_marked(np.mean(stroke, axis=0))
        assert not self._is_marked(BETWEEN_STROKES)
        self.page.keyboard.press("i")
        wait_for(lambda: self._is_marked(BETWEEN_STROKES), "the filling between slices", seconds=60)
        ohif.undo()
        assert not self._is_marked(BETWEEN_STROKES)
        ohif.redo()
        assert self._is_marked(BETWEEN_STROKES)

    def check_drawn_tools(self) -> None:
        """Mark with the lasso, and copy that to the next slice; take a part away, in another plane; divide and join."""
        ohif, page, findings = self.ohif, self.page, self.findings
        count, key = findings.count(), page.keyboard.press
        key("s")
        before = np.count_nonzero(ohif.labelmap().values)
        ohif.draw("mpr-axial", SQUARE)
        expect(findings).to_have_count(count + 1)
        marked = np.count_nonzero(ohif.labelmap().values)
        ohif.press_at("n", "mpr-axial", IN_SQUARE)
        assert np.count_nonzero(ohif.labelmap().values) - marked == marked - before
        assert self.cameras()[0]["focalPoint"][2] != pytest.approx(IN_SQUARE[2])
        ohif.undo()
        page.keyboard.down("Shift")
        ohif.draw("mpr-coronal", CORNER)
        page.keyboard.up("Shift")
        assert np.count_nonzero(ohif.labelmap().values) < marked
        ohif.undo()
        assert np.count_nonzero(ohif.labelmap().values) == marked
        key("d")
        ohif.draw("mpr-axial", ACROSS)
        expect(findings).to_have_count(count + 2)
        page.locator(".lunglabel-added").last.get_by_role("button", name="Show finding").click()
        page.locator('[data-part="edits"] summary').click()
        page.locator('[data-edit="join"]').click()
        expect(findings).to_have_count(count + 1)
        for _ in range(3):
            ohif.undo()
        expect(findings).to_have_count(count)
        page.locator('[data-part="edits"] summary').click()
        key("d")

    def check_only_lungs(self) -> None:
        """Draw around one half of the body with the lasso: only the lung is marked."""
        ohif = self.ohif
        self.part("lungs").check()
        expect(self.part("message")).to_have_text("Brush, threshold and lasso mark only inside the lungs.")
        self.page.keyboard.press("s")
        before = ohif.labelmap()
        ohif.draw("mpr-axial", HALF)
        added = Labelmap(ohif.labelmap().values - before.values, before.affine)
        assert len(added.points())
        assert (ohif.hu_at(added.points()) < -500).mean() > 0.8
        ohif.undo()
        self.page.keyboard.press("s")
        self.part("lungs").uncheck()

    def _is_marked(self, point: Sequence[float]) -> bool:
        """Return whether the voxel at a position, LPS in mm, is in the mask."""
        labelmap = self.ohif.labelmap()
        index = np.linalg.solve(labelmap.affine, [*point, 1])[:3]
        return bool(labelmap.values[tuple(np.rint(index[::-1]).astype(int))])

    def describe(self, finding: Locator, text: str, texture: str) -> None:
        """Write a note on a finding, and choose its texture."""
        finding.get_by_role("button", name="Describe finding").click()
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")
        expect(finding.get_by_role("button", name="Describe finding")).to_be_focused()
        self.page.get_by_label("Texture of finding").select_option(texture)

    def rulers(self) -> list[list[Point]]:
        """Return the ends of all measurements on the screen, LPS in mm."""
        return self.page.evaluate(RULERS)

    def check_measuring(self) -> None:
        """Measure both axes of what was painted and a length beside it; change, undo and redo them."""
        ohif, measured = self.ohif, self.measured
        self._measure("m", *LONG_AXIS)
        expect(measured).to_have_text(re.compile(r"2[567]\.\d × \d+\.\d mm ?of finding \d"))
        self._measure("l", *LENGTH)
        expect(measured).to_have_count(2)
        ohif.undo()
        expect(measured).to_have_count(1)
        assert len(self.rulers()) == 1
        ohif.redo()
        expect(measured).to_have_count(2)
        (end, *_), _ = self.rulers()
        before = measured.nth(0).inner_text()
        ohif.show(end)
        ohif.stroke("mpr-coronal", end, (end[0] + 12, *end[1:]))
        expect(measured.nth(0)).to_contain_text(re.compile(r"[34]\d\.\d × "))
        ohif.undo()
        expect(measured.nth(0)).to_have_text(before, use_inner_text=True)
        self.page.keyboard.press("l")

    def _measure(self, key: str, viewport: str, start: Point, end: Point) -> None:
        """Choose a ruler with its key, and drag it between two points."""
        self.page.keyboard.press(key)
        self.ohif.show(start)
        self.ohif.stroke(viewport, start, end)

    def reload(self) -> None:
        """Load the page again; the browser may ask first."""
        self.page.once("dialog", lambda dialog: dialog.accept())
        self.page.reload()
        self.ohif.wait_until_connected()


def accessibility_problems(page: Page, selector: str) -> list:
    """Return the violations of WCAG 2.1 AA that axe finds in a part of a page; it comes with ``npm ci``."""
    if not AXE.is_file():
        pytest.skip("SKIPPED: axe-core is not installed; run npm ci")
    page.evaluate(AXE.read_text(encoding="utf-8") + ";0")
    return page.evaluate(RUN_AXE, selector)
