"""The steps of a reader through a case in OHIF, and what is on the screen after them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.ohif import MPR_VIEWPORTS, Ohif

SIZES = {"laptop": (1366, 768), "desktop": (1920, 1080)}
# Two strokes on axial slices with some between them, LPS in mm, far from the lesions of the phantoms.
FIRST_STROKE, LAST_STROKE = (((70, -20, z), (52, -20, z)) for z in (28, 40))

CAMERAS = """ids => ids.map(id => {
    const viewport = window.services.cornerstoneViewportService.getCornerstoneViewport(id);
    const {focalPoint, parallelScale} = viewport.getCamera();
    const {lower, upper} = viewport.getProperties().voiRange;
    const {clientWidth, clientHeight} = viewport.canvas;
    return {focalPoint, parallelScale, width: upper - lower + 1, area: clientWidth * clientHeight};
})"""

IS_SHOWN = """id => window.cornerstoneTools.segmentation.config.visibility
    .getSegmentationRepresentationVisibility(id, {segmentationId: '1', type: 'Labelmap'})"""

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
        assert self.cameras()[0]["parallelScale"] > 2 * shown["parallelScale"]
        page.keyboard.down("h")
        assert not any(page.evaluate(IS_SHOWN, viewport) for viewport in MPR_VIEWPORTS)
        page.keyboard.up("h")
        assert all(page.evaluate(IS_SHOWN, viewport) for viewport in MPR_VIEWPORTS)
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keys")).to_contain_text("accept the finding shown")
        page.keyboard.press("Escape")
        page.keyboard.press("f")
        assert self.cameras()[0]["focalPoint"] == pytest.approx(shown["focalPoint"])

    def paint_with_a_gap_and_fill(self) -> None:
        """Paint a lesion on two slices only, and fill between them; undo and redo that."""
        ohif = self.ohif
        ohif.choose_tool("brush", diameter=12)
        for stroke in (FIRST_STROKE, LAST_STROKE):
            ohif.show(stroke[0])
            ohif.stroke("mpr-axial", *stroke)
        painted = ohif.labelmap().values
        self.page.keyboard.press("i")
        expect(self.part("message")).to_contain_text("Filled between slices")
        filled = ohif.labelmap().values
        assert (filled >= painted).all() and filled.sum() > painted.sum()
        ohif.undo()
        assert np.array_equal(ohif.labelmap().values, painted)
        ohif.redo()
        assert np.array_equal(ohif.labelmap().values, filled)

    def write_note(self, finding: Locator, text: str) -> None:
        """Write a note on a finding."""
        finding.get_by_role("button", name="Note on").click()
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")
        expect(self.page.locator(".lunglabel-note")).to_have_text(text)

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
