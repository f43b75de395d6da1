"""Editing and submitting masks in OHIF, without a model."""

import os
import re
import resource
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import requests
import SimpleITK as sitk
from playwright.sync_api import expect

from lib.phantoms import Acquisition, DemoSeries, chest_volume
from lib.publishing.version_files import PRETRAINED_FILE
from lib.settings import APP_DIR
from tests.browser.masks import is_coloured
from tests.browser.ohif import Labelmap, Ohif
from tests.browser.painting import (
    BRUSH_MM,
    GRID,
    LESION,
    STORED,
    STROKES,
    check_strokes,
    open_patient,
    paint,
    series_of,
    stored_info,
    stored_label,
    write_patients,
)
from tests.browser.reading import Reading
from tests.support.client import wait_until_indexed
from tools.support.chromium import MPR_VIEWPORTS

pytestmark = pytest.mark.browser

NEVER_LABELLED = {"UNTOUCHED": (Acquisition(**GRID), False)}  # so that there is a next case
IS_ON_TOP = """selector => {
    const line = document.querySelector(selector);
    const {x, y, height} = line.getBoundingClientRect();
    return line.contains(document.elementFromPoint(x + 40, y + height / 2));
}"""
RESIZED_MS = 1000  # OHIF waits before it resizes the planes


@pytest.fixture(scope="module")
def studies(tmp_path_factory) -> Path:
    """Return the same chest stored in three ways, and once more for a patient who stays unlabelled."""
    folder = tmp_path_factory.mktemp("studies") / "dicom"
    write_patients(folder, {**STORED, **NEVER_LABELLED})
    return folder


@pytest.fixture(scope="module")
def two_series(phantom_studies) -> list[DemoSeries]:
    """Return a thin and a thick series of the same study."""
    return [series for series in phantom_studies.series if series.patient_id == "LUNG-005"]


@pytest.fixture(scope="module")
def server(start_module_server, studies, two_series, tmp_path_factory):
    folder = tmp_path_factory.mktemp("all") / "dicom"
    shutil.copytree(studies, folder, copy_function=os.link)
    shutil.copytree(two_series[0].directory.parent, folder / "two-series", copy_function=os.link)
    server = start_module_server(folder)
    wait_until_indexed(server)
    return server


@pytest.fixture
def ohif(page, server) -> Ohif:
    return Ohif(page, server.url)


def has_values(labelmap: Labelmap, values: np.ndarray) -> bool:
    return np.array_equal(labelmap.values, values)


def test_painted_mask_is_stored_and_loaded_again(ohif, tmp_path, page_problems, screenshot):
    open_patient(ohif, "REVERSED")
    ohif.choose_tool("brush", diameter=BRUSH_MM)
    for viewport in MPR_VIEWPORTS:
        paint(ohif, viewport)
    assert ohif.submit("Dr. Ä. Reader", note="three strokes") == "Label 1 is stored."
    screenshot(ohif.page, "submitted")

    series_uid = series_of(ohif.server_url, "REVERSED")
    label = stored_label(ohif.server_url, series_uid, tmp_path)
    painted = ohif.labelmap()
    assert has_values(painted, sitk.GetArrayFromImage(label))
    check_strokes(label, MPR_VIEWPORTS, elsewhere=False)
    info = stored_info(ohif.server_url, series_uid)
    assert (info["annotator"], info["note"], info["viewer"]) == ("Dr. Ä. Reader", "three strokes", "ohif")
    assert info["model_version"] is None

    ohif.page.reload()
    ohif.wait_until_connected()
    assert not ohif.labelmap().values.any()
    assert ohif.load_label() == "Label 1 is loaded."
    assert not ohif.page.locator('[data-part="unsaved"]').is_visible()
    assert has_values(ohif.labelmap(), painted.values)
    middle = np.mean(STROKES["mpr-axial"], axis=0)
    ohif.show(middle)  # show the stroke again: the planes have moved to the largest stroke
    assert is_coloured(ohif.colour_at("mpr-axial", middle))
    assert ohif.page.locator('[data-part="annotator"]').input_value() == "Dr. Ä. Reader"
    assert not page_problems.of(ohif.server_url)


def test_undo_and_redo_single_strokes(ohif):
    open_patient(ohif, "HEAD-FIRST")
    states = [ohif.labelmap().values]
    ohif.choose_tool("brush", diameter=BRUSH_MM)
    paint(ohif, "mpr-axial")
    states.append(ohif.labelmap().values)
    paint(ohif, "mpr-coronal")
    states.append(ohif.labelmap().values)
    ohif.choose_tool("eraser", diameter=BRUSH_MM / 2)
    ohif.page.locator('[data-part="note"]').fill("Ctrl+Z means the stroke, not the text typed before it")
    paint(ohif, "mpr-axial")
    states.append(ohif.labelmap().values)
    assert [np.count_nonzero(state) > 0 for state in states] == [False, True, True, True]
    assert 0 < np.count_nonzero(states[3]) < np.count_nonzero(states[2])
    for state in states[-2::-1]:
        ohif.undo()
        assert has_values(ohif.labelmap(), state)
    for state in states[1:]:
        ohif.redo()
        assert has_values(ohif.labelmap(), state)


def test_keys_and_planes_stay_with_the_finding_shown(ohif):
    page, reading = ohif.page, Reading(ohif)
    open_patient(ohif, "FEET-FIRST")
    ohif.choose_tool("brush", diameter=BRUSH_MM)
    for viewport in ("mpr-axial", "mpr-coronal"):
        paint(ohif, viewport)
    expect(reading.findings).to_have_count(2)
    page.keyboard.press("f")
    places = [camera["focalPoint"] for camera in reading.cameras()]
    before = page.locator('[data-viewport-uid="mpr-axial"]').bounding_box()["width"]
    ohif.unfold_studies()
    width = f"() => document.querySelector('[data-viewport-uid=mpr-axial] canvas').clientWidth < {before} - 100"
    page.wait_for_function(width)
    page.wait_for_timeout(RESIZED_MS)
    for camera, place in zip(reading.cameras(), places, strict=True):
        assert camera["focalPoint"] == pytest.approx(place, abs=0.1)
    page.keyboard.press("l")
    x, y, z = places[0]
    ohif.stroke("mpr-axial", (x - 8, y, z), (x + 8, y, z))
    expect(reading.measured).to_have_count(1)
    page.keyboard.press("f")
    page.keyboard.press("Delete")  # the ruler under the pointer is not on this slice
    expect(reading.findings).to_have_count(1)
    expect(reading.measured).to_have_count(1)
    ohif.undo()
    page.set_viewport_size({"width": 1366, "height": 640})
    page.evaluate("() => document.querySelector('.lunglabel-correct').scrollTo(0, 10000)")
    page.keyboard.press("f")
    expect(reading.findings.nth(0)).to_have_attribute("aria-current", "true")
    assert page.evaluate(IS_ON_TOP, '[data-findings="table"] [aria-current]')
    mediastinum = page.get_by_role("button", name="Mediastinum")
    mediastinum.focus()
    page.keyboard.press("Space")
    expect(mediastinum).to_have_attribute("aria-pressed", "true")
    assert [camera["width"] for camera in reading.cameras()] == [400] * 3


def test_finding_can_be_removed_or_kept_alone(ohif):
    open_patient(ohif, "FEET-FIRST")
    ohif.choose_tool("brush", diameter=BRUSH_MM)
    masks = {}
    for viewport in MPR_VIEWPORTS:
        before = ohif.labelmap().values
        paint(ohif, viewport)
        masks[viewport] = ohif.labelmap().values - before
    everything = sum(masks.values())
    start = STROKES["mpr-coronal"][0]
    ohif.show(start)
    ohif.press_at("x", "mpr-coronal", start)
    assert has_values(ohif.labelmap(), everything - masks["mpr-coronal"])
    ohif.undo()
    ohif.press_at("k", "mpr-coronal", start)
    assert has_values(ohif.labelmap(), masks["mpr-coronal"])
    ohif.undo()
    assert has_values(ohif.labelmap(), everything)
    ohif.press_at("k", "mpr-coronal", (start[0] - 90, *start[1:]))
    assert "no finding under the pointer" in ohif.message()
    assert has_values(ohif.labelmap(), everything)


def test_threshold_brush_paints_only_dense_tissue(ohif, studies):
    """A ball larger than the lesion is drawn through it: the lung around it is not painted."""
    open_patient(ohif, "HEAD-FIRST")
    ohif.choose_tool("threshold", diameter=50, ball=True)
    ohif.show(LESION.center)
    beside = (LESION.center[0] + 8, *LESION.center[1:])
    ohif.stroke("mpr-axial", LESION.center, beside)
    painted = ohif.labelmap().values > 0
    acquisition = STORED["HEAD-FIRST"][0]
    hu, _, _ = chest_volume(31, lesions=(LESION,), acquisition=acquisition)
    assert np.count_nonzero(painted.any(axis=(1, 2))) > 3, "a ball paints several slices"
    assert hu[painted].min() >= -400
    assert hu[painted].max() <= 400
    at_center = tuple(np.rint(np.linalg.solve(acquisition.affine, [*LESION.center, 1])[2::-1]).astype(int))
    assert painted[at_center]


def answer_dialogs(page, accept: bool) -> list[str]:
    """Answer all dialogs from now on; return the list of their types, updated as they appear."""
    kinds = []

    def answer(dialog):
        kinds.append(dialog.type)
        dialog.accept() if accept else dialog.dismiss()

    page.on("dialog", answer)
    return kinds


def test_unsubmitted_mask_is_not_discarded_without_confirmation(ohif):
    open_patient(ohif, "HEAD-FIRST")
    page, url = ohif.page, ohif.page.url
    ohif.choose_tool("brush", diameter=BRUSH_MM)
    paint(ohif, "mpr-axial")
    painted = ohif.labelmap().values
    asked = answer_dialogs(page, accept=False)

    page.locator('[data-cy="return-to-work-list"]').click()
    page.locator('button[title="Run Segmentation"]').click()
    page.locator('[data-part="note"]').blur()
    page.keyboard.press("PageDown")
    assert asked == ["confirm"] * 3
    with page.expect_event("dialog"):
        page.evaluate("() => setTimeout(() => history.back())")
    page.wait_for_function("url => location.href === url", arg=url)  # navigated forward again
    with page.expect_event("dialog"):
        page.evaluate("() => setTimeout(() => location.reload())")
    with page.expect_event("dialog"):
        page.locator('[data-part="next"]').click()
    assert asked == ["confirm"] * 4 + ["beforeunload"] * 2
    assert page.url == url
    assert has_values(ohif.labelmap(), painted)

    ohif.submit("Dr. Reader")
    page.locator('[data-cy="return-to-work-list"]').click()
    page.locator('[data-cy="study-list-results"]').wait_for()
    assert len(asked) == 6, "no confirmation after submitting"


def test_mask_survives_closing_the_panel(ohif):
    open_patient(ohif, "FEET-FIRST")
    ohif.choose_tool("brush", diameter=BRUSH_MM)
    paint(ohif, "mpr-axial")
    painted = ohif.labelmap().values
    header = ohif.page.locator("span").filter(has_text=re.compile("^MONAI Label$"))  # in a notification it is in a div
    header.click()
    ohif.page.locator(".monaiLabelPanel").wait_for(state="detached")
    ohif.page.locator('[data-cy="panelSegmentation-btn"], [data-cy$="-btn"]').last.click()
    ohif.wait_until_connected()
    assert has_values(ohif.labelmap(), painted)
    assert ohif.page.locator('[data-part="unsaved"]').is_visible()
    ohif.undo()
    assert not ohif.labelmap().values.any()


def test_each_series_has_its_own_mask_in_the_viewer(ohif, two_series, tmp_path):
    thin, thick = two_series
    ohif.open_study_list()
    ohif.open_monai_label(thin.study_uid)
    ohif.wait_until_connected()
    for series, description in ((thick, "Chest 5 mm"), (thin, "Chest 2.5 mm")):
        ohif.show_series(description, series.acquisition.shape[0])
        assert ohif.labelmap().values.shape == series.acquisition.shape
        ohif.choose_tool("brush", diameter=BRUSH_MM)
        paint(ohif, "mpr-axial")
        assert ohif.submit("Dr. Reader") == "Label 1 is stored."
        stored = sitk.GetArrayFromImage(stored_label(ohif.server_url, series.series_uid, tmp_path))
        assert stored.any()
        assert has_values(ohif.labelmap(), stored)


def test_failed_requests_are_reported_and_keep_the_mask(page, start_server, studies, tmp_path):
    folder, model_dir = tmp_path / "dicom", tmp_path / "model"
    shutil.copytree(studies, folder)
    model_dir.mkdir()
    server = start_server(folder, rescan_seconds=0.5, model_dir=model_dir, scored_images=0)
    ohif = Ohif(page, server.url)
    # Left behind by a server on another port of this machine.
    old = {"name": "MONAILABEL_SERVER_URL", "value": "http%3A//127.0.0.1%3A1", "domain": "127.0.0.1", "path": "/ohif"}
    page.context.add_cookies([old])
    open_patient(ohif, "REVERSED")
    assert "no trained model" in ohif.press("run")
    assert "nothing to train on" in ohif.press("train")
    (model_dir / PRETRAINED_FILE).symlink_to(APP_DIR / "model" / PRETRAINED_FILE)

    ohif.choose_tool("brush", diameter=BRUSH_MM)
    paint(ohif, "mpr-axial")
    painted = ohif.labelmap().values
    assert "Enter your name" in ohif.submit()
    full = (100_000, resource.RLIM_INFINITY)  # maximum file size in bytes: as on a disk with no room for the mask
    before = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, full)
    assert "cannot write to its disk" in ohif.submit("Dr. Reader")
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)
    series_uid = series_of(server.url, "REVERSED")
    shutil.rmtree(folder / "REVERSED")
    gone = {"image": series_uid}
    while requests.get(f"{server.url}/datastore/image/info", params=gone).status_code == 200:
        page.wait_for_timeout(100)
    assert "There is no image" in ohif.submit("Dr. Reader")

    answer_dialogs(page, accept=True)  # Run would replace the painted mask
    status = requests.get(f"{server.url}/viewer/status").text
    server.process.send_signal(signal.SIGSTOP)  # so that it cannot respond first
    with page.expect_request(lambda request: "/infer/" in request.url):
        ohif.button("run").click()
    server.process.kill()
    assert "interrupted" in ohif.message()
    for button in ("next", "train", "attention", "submit"):
        assert "does not respond" in ohif.press(button)
    assert has_values(ohif.labelmap(), painted)
    assert page.locator('[data-part="unsaved"]').is_visible()
    page.route("**/viewer/status", lambda route: route.fulfill(body=status, content_type="application/json"))
    expect(page.locator('[data-part="message"]')).to_have_text("The server is back: try again.")
