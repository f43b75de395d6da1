"""The reader's way through a case: first view, findings, accept and reject, measure, submit, load again."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import requests
import SimpleITK as sitk
from playwright.sync_api import Page, Route, expect
from pydicom import dcmread

from lib.geometry.voxel_grid import VoxelGrid
from lib.phantoms import study_instance_uid
from tests.browser.ohif import MPR_VIEWPORTS, Ohif, Point
from tests.browser.painting import BRUSH_MM, open_patient, paint, series_of, stored_info, write_patients
from tests.browser.painting import STORED as PATIENTS
from tools.support.waiting import wait_for

pytestmark = pytest.mark.browser

PATIENT = "FEET-FIRST"
LARGE, SMALL = (20, 40, 30), (8, 70, 90)  # slice, row, column of the first voxel of each finding
SIDES = {LARGE: 8, SMALL: 4}  # voxels
VOXEL_MM3 = 4 * 2.8**2

CAMERAS = """ids => ids.map(id => {
    const viewport = window.services.cornerstoneViewportService.getCornerstoneViewport(id);
    const {focalPoint, parallelScale} = viewport.getCamera();
    const {lower, upper} = viewport.getProperties().voiRange;
    const {clientWidth, clientHeight} = viewport.canvas;
    return {focalPoint, parallelScale, width: upper - lower + 1, area: clientWidth * clientHeight};
})"""

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
RUN_AXE = """async selector => {
    const rules = ['wcag2a', 'wcag2aa', 'wcag21aa'];
    const {violations} = await axe.run({include: [[selector]]}, {runOnly: rules});
    return violations.map(one => [one.id, one.nodes.map(node => node.html)]);
}"""

RULERS = """() => window.cornerstoneTools.annotation.state.getAllAnnotations()
    .filter(one => ['Length', 'Bidirectional'].includes(one.metadata.toolName))
    .map(one => one.data.handles.points.map(point => Array.from(point)))"""

# Ends of a long axis in the plane of the stroke that is painted, and of a length beside it, LPS in mm.
AXIS = {"mpr-coronal": ((72, -20, 42), (50, -20, 28))}
LENGTH = {"mpr-sagittal": ((60, -60, 10), (60, -30, 50))}

IS_SHOWN = """id => window.cornerstoneTools.segmentation.config.visibility
    .getSegmentationRepresentationVisibility(id, {segmentationId: '1', type: 'Labelmap'})"""


def two_findings(image: bytes, folder: Path) -> bytes:
    """Return a mask of an image with a large and a small finding, as the server sends it."""
    (folder / "image.nrrd").write_bytes(image)
    grid = VoxelGrid.from_file(folder / "image.nrrd")
    voxels = np.zeros(grid.shape, np.uint8)
    for (z, y, x), side in SIDES.items():
        voxels[z : z + side, y : y + side, x : x + side] = 1
    sitk.WriteImage(grid.mask(voxels), str(folder / "mask.nrrd"), useCompression=True)
    return (folder / "mask.nrrd").read_bytes()


def accessibility_problems(page: Page, selector: str) -> list:
    """Return the violations of WCAG 2.1 AA that axe finds in a part of a page; it comes with ``npm ci``."""
    if not AXE.is_file():
        pytest.skip("SKIPPED: axe-core is not installed; run npm ci")
    page.evaluate(AXE.read_text(encoding="utf-8") + ";0")
    return page.evaluate(RUN_AXE, selector)


def measure(ohif: Ohif, key: str, line: dict[str, tuple[Point, Point]]) -> None:
    """Choose a ruler with its key, and drag it between two points in the plane of a viewport."""
    ((viewport, (start, end)),) = line.items()
    ohif.page.keyboard.press(key)
    ohif.show(start)
    ohif.stroke(viewport, start, end)


def answer_runs(page: Page, mask: bytes) -> None:
    """Answer each run of the model with the two findings."""
    judged = [(SMALL, 0.934), (LARGE, 0.4)]
    findings = [{"voxel": place[::-1], "confidence": confidence} for place, confidence in judged]
    params = json.dumps({"model_version": "v1", "findings": findings, "warnings": ["the kernel is sharp"]})

    def answer(route: Route) -> None:
        route.fulfill(body=mask, content_type="application/octet-stream", headers={"Infer-Params": params})

    page.route(re.compile("/infer/lung_tumor[?]"), answer)


def test_a_case_is_read_from_opening_it_to_loading_it_again(page, start_server, tmp_path, page_problems, screenshot):
    page.set_viewport_size({"width": 1366, "height": 768})
    write_patients(tmp_path / "dicom", {PATIENT: PATIENTS[PATIENT]})
    server = start_server(tmp_path / "dicom", scored_images=0)
    series_uid = series_of(server.url, PATIENT)
    mask = two_findings(requests.get(f"{server.url}/datastore/image", params={"image": series_uid}).content, tmp_path)
    answer_runs(page, mask)
    ohif = Ohif(page, server.url)
    open_patient(ohif, PATIENT)
    result = page.locator('[data-part="result"]')
    rows = page.locator('[data-findings="table"] tbody tr:not(.lunglabel-note)')

    # The first view: the lung window, a large axial plane, the list of series folded, all of the foot on the screen.
    fitted = page.evaluate(CAMERAS, list(MPR_VIEWPORTS))
    assert [camera["width"] for camera in fitted] == [1500] * 3
    assert fitted[0]["area"] > 3 * fitted[1]["area"]
    assert page.locator('[data-cy="study-browser-thumbnail"]').count() == 0
    page.keyboard.press("1")
    assert page.evaluate(CAMERAS, ["mpr-coronal"])[0]["width"] == 400
    page.keyboard.press("2")
    expect(result).to_contain_text("No mask yet")
    for part in ("submit", "next", "annotator", "note"):
        box = page.locator(f'[data-part="{part}"]').bounding_box()
        assert box["y"] + box["height"] <= 768, part

    # A run lists its findings, the most confident first, and zooms to that one.
    ohif.run_auto_segmentation("lung_tumor")
    small, large = SIDES[SMALL] ** 3 * VOXEL_MM3 / 1000, SIDES[LARGE] ** 3 * VOXEL_MM3 / 1000
    expect(result).to_have_text(f"2 findings, {small + large:.1f} ml, largest 30 × 30 mm")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_have_text(re.compile(rf"2.*{small:.1f} ml.*93 %"))
    expect(rows.nth(1)).to_have_text(re.compile(rf"1.*30 × 30.*{large:.1f} ml.*40 %"))
    expect(page.locator('[data-part="notes"] summary')).to_have_text("1 note on this scan")
    zoomed = page.evaluate(CAMERAS, list(MPR_VIEWPORTS))
    assert all(camera["parallelScale"] < one["parallelScale"] / 3 for camera, one in zip(zoomed, fitted, strict=True))
    screenshot(page, "findings-run")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("accept the finding shown")
    page.keyboard.press("Escape")

    # F shows the next, and after the last the whole image; H hides the mask in every plane while it is held.
    page.keyboard.press("f")
    assert page.evaluate(CAMERAS, ["mpr-axial"])[0]["focalPoint"] != zoomed[0]["focalPoint"]
    page.keyboard.press("f")
    assert page.evaluate(CAMERAS, ["mpr-axial"])[0]["parallelScale"] == pytest.approx(fitted[0]["parallelScale"])
    page.keyboard.down("h")
    assert not any(page.evaluate(IS_SHOWN, viewport) for viewport in MPR_VIEWPORTS)
    page.keyboard.up("h")
    assert all(page.evaluate(IS_SHOWN, viewport) for viewport in MPR_VIEWPORTS)

    # Accept the first, reject the doubtful one with the slider, draw a third, undo and redo.
    page.keyboard.press("f")
    page.keyboard.press("a")
    expect(rows.nth(0)).to_have_class("lunglabel-accepted")
    page.locator('[data-findings="threshold"]').fill("0.5")
    expect(rows.nth(1)).to_have_class("lunglabel-rejected")
    expect(result).to_have_text(re.compile("^1 finding, "))
    ohif.choose_tool("brush", diameter=BRUSH_MM)
    paint(ohif, "mpr-coronal")
    expect(rows).to_have_count(3)
    expect(rows.nth(1)).to_contain_text("added")
    ohif.undo()
    expect(rows).to_have_count(2)
    ohif.redo()
    expect(rows).to_have_count(3)
    rows.nth(1).get_by_role("button", name="Describe finding").click()
    page.keyboard.type("beside the heart")
    page.keyboard.press("Enter")
    page.get_by_label("Texture of finding").select_option("ground_glass")
    screenshot(page, "findings-reviewed")

    # Long and short axis of what was drawn, and a length beside all findings; the strokes of the ruler are undone, too.
    measured = page.locator('[data-part="measurements"] li')
    measure(ohif, "m", AXIS)
    expect(measured).to_have_text(re.compile(r"2[567]\.\d × \d+\.\d mm ?of finding 2"))
    measure(ohif, "l", LENGTH)
    expect(measured).to_have_count(2)
    ohif.undo()
    expect(measured).to_have_count(1)
    assert len(page.evaluate(RULERS)) == 1
    ohif.redo()
    expect(measured).to_have_count(2)
    (end, *_), _ = page.evaluate(RULERS)
    before = measured.nth(0).inner_text()
    ohif.show(end)
    ohif.stroke("mpr-coronal", end, (end[0] + 12, *end[1:]))
    expect(measured.nth(0)).to_contain_text(re.compile(r"[34]\d\.\d × "))
    ohif.undo()
    expect(measured.nth(0)).to_have_text(before, use_inner_text=True)
    page.keyboard.press("l")
    screenshot(page, "findings-measured")

    # Nothing is lost in a reload.
    painted = ohif.labelmap().values
    rulers = page.evaluate(RULERS)
    page.on("dialog", lambda dialog: dialog.accept())  # the browser asks before it leaves
    page.reload()
    ohif.wait_until_connected()
    expect(page.locator('[data-part="draftText"]')).to_contain_text("begun from no label.")
    assert ohif.press("restore") == "The draft is restored."
    assert np.array_equal(ohif.labelmap().values, painted)
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_have_class("lunglabel-accepted")
    expect(page.locator('[data-part="draft"]')).to_be_hidden()
    assert page.evaluate(RULERS) == rulers

    # All of it is stored with the label, and is there again when the label is loaded.
    assert ohif.submit("Dr. Reader") == "Label 1 is stored."
    info = stored_info(server.url, series_uid)
    assert [(one["state"], one["confidence"], one["texture"], one["note"]) for one in info["lesions"]] == [
        ("accepted", 0.934, "", ""),
        ("added", None, "ground_glass", "beside the heart"),
        ("rejected", 0.4, "", ""),
    ]
    assert [(one["kind"], one["plane"], one["points"]) for one in info["measurements"]] == [
        ("bidirectional", "coronal", rulers[0]),
        ("length", "sagittal", rulers[1]),
    ]
    assert info["lesion_numbers"][1]["number"] == 2
    report = requests.get(
        f"{server.url}/datastore/label", params={"label": series_uid, "tag": "final", "output": "dicom_sr"}
    )
    content = str(dcmread(io.BytesIO(report.content)))
    assert "Short axis" in content
    assert content.count(info["lesion_numbers"][1]["uid"]) == 2, "of the lesion and of its long and short axis"
    series = f"{server.url}/proxy/dicom/qido/studies/{study_instance_uid(PATIENT)}/series"
    wait_for(lambda: len(requests.get(series).json()) > 1, "the DICOM SEG of the label", seconds=120)
    page.reload()
    ohif.wait_until_connected()
    assert ohif.series() == series_uid, "the images are opened, not the SEG, which is newer"
    ohif.unfold_studies()
    page.locator('[data-cy^="study-browser-thumbnail"]', has_text="SEG").dblclick()
    assert "Load label puts it into the mask" in ohif.message()
    assert ohif.series() == series_uid
    assert not page.locator('[data-part="draft"]').is_visible()
    assert ohif.load_label() == "Label 1 is loaded."
    expect(page.locator(".lunglabel-note").nth(1)).to_have_text("ground glass – beside the heart")
    assert not page.locator('[data-part="unsaved"]').is_visible()
    assert page.evaluate(RULERS) == rulers

    # A lesion keeps its number and its tracking UID when one with a lower number is gone.
    rows.nth(0).get_by_role("button", name="Reject finding 1").click()
    expect(rows.nth(0)).to_have_text(re.compile("^2"))
    measured.nth(1).get_by_role("button", name="Remove").click()
    expect(measured).to_have_count(1)
    assert ohif.submit("Dr. Reader") == "Label 2 is stored."
    again = stored_info(server.url, series_uid)
    assert again["lesion_numbers"] == info["lesion_numbers"][1:]
    assert again["measurements"] == info["measurements"][:1]
    assert not page_problems.of(server.url)

    # The panel, its keys and the status page meet WCAG 2.1 AA.
    page.locator('[data-part="edits"] summary').click()
    page.keyboard.press("?")
    for selector in (".monaiLabelPanel", "dialog.lunglabel-keys"):
        assert not accessibility_problems(page, selector), selector
    page.goto(f"{server.url}/status")
    expect(page.locator("#cases")).to_contain_text("label 2 by Dr. Reader")
    assert not accessibility_problems(page, "body")
