"""A whole case as a reader goes through it: on a folder and a laptop, on Orthanc and a large screen."""

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import SimpleITK as sitk
from playwright.sync_api import Browser, Page, Route, expect
from pydicom import dcmread
from pydicom.uid import generate_uid

from lib.exports.dicom_seg import segmentation
from lib.exports.provenance import Provenance
from lib.exports.source_images import SourceImages
from lib.geometry.voxel_grid import VoxelGrid
from lib.phantoms import chest_volume, study_instance_uid, write_dicom_series
from lib.settings import load_info
from tests.browser.masks import check_mask_on_lesions, is_coloured
from tests.browser.ohif import Ohif, Point
from tests.browser.painting import GRID, LESION, series_of, stored_info, stored_label, write_patients
from tests.browser.painting import STORED as PATIENTS
from tests.browser.reading import SIZES, Reading, accessibility_problems
from tests.support.browser import WINDOW, PageProblems
from tests.support.client import put_label
from tests.support.weights import model_dir_with
from tools.support.chromium import MPR_VIEWPORTS
from tools.support.processes import ServerProcess
from tools.support.waiting import wait_for

pytestmark = pytest.mark.browser

PATIENT, NEXT = "FEET-FIRST", "HEAD-FIRST"
LARGE, SMALL = (20, 40, 30), (8, 70, 90)  # slice, row, column of the first voxel of each finding
SIDES = {LARGE: 8, SMALL: 4}  # voxels
VOXEL_MM3 = 4 * 2.8**2
DRAFT = re.compile("/viewer/draft[?]")
HIGHER_MM = 12.0  # the patient lay higher in the earlier study, by three slices
READERS = {"first": 3, "second": 5}  # slices that each marked


def large_page(page: Page, screen: str) -> Page:
    width, height = SIZES[screen]
    page.set_viewport_size({"width": width, "height": height})
    return page


def marked(slices: int) -> np.ndarray:
    """Return the mask of a reader."""
    mask = np.zeros(GRID["shape"], np.uint8)
    mask[10 : 10 + slices, 40:50, 60:75] = 1
    return mask


def write_segs(folder: Path, names: Sequence[str]) -> None:
    """Write SEGs of readers, or of somebody else in another frame of reference."""
    headers = [dcmread(path, stop_before_pixels=True).to_json_dict() for path in (folder / PATIENT).iterdir()]
    for name in names:
        slices = READERS.get(name, 1)
        provenance = Provenance(name, slices, 86400.0 * slices, "MANUAL")
        seg = segmentation(marked(slices), SourceImages.of(headers), provenance, load_info())
        seg.ContentDescription = f"{name} reader"
        if name not in READERS:
            seg.FrameOfReferenceUID = generate_uid()
        seg.save_as(folder / f"{name}.dcm", write_like_original=False)


def write_former_study(folder: Path) -> str:
    """Write a study of the patient from a year before; return its SeriesInstanceUID."""
    acquisition, _ = PATIENTS[PATIENT]
    pose = np.eye(4)
    pose[2, 3] = HIGHER_MM
    hu, _, affine = chest_volume(31, lesions=(LESION,), acquisition=acquisition, pose=pose)
    return write_dicom_series(
        folder / "former",
        hu,
        affine,
        patient_id=PATIENT,
        patient_position=acquisition.patient_position,
        study="former",
        study_date="20250105",
    )


def label_former_study(server: ServerProcess, series_uid: str, current: bytes, folder: Path) -> None:
    """Submit a label of the former study: the large finding, with a quarter of its volume."""
    grids = []
    for name, image in (("current", current), ("former", image_of(server.url, series_uid))):
        (folder / f"{name}.nrrd").write_bytes(image)
        grids.append(VoxelGrid.from_file(folder / f"{name}.nrrd"))
    first = grids[1].to_index(grids[0].to_mm(np.array(LARGE[::-1])) - [0, 0, HIGHER_MM])
    x, y, z = np.rint(first).astype(int)
    voxels = np.zeros(grids[1].shape, np.uint8)
    side = SIDES[LARGE]
    voxels[z : z + side, y + 2 : y + side - 2, x + 2 : x + side - 2] = 1
    sitk.WriteImage(grids[1].mask(voxels), str(folder / "former.nii.gz"))
    put_label(server, series_uid, folder / "former.nii.gz").raise_for_status()


def image_of(url: str, series_uid: str) -> bytes:
    """Return the volume of a series."""
    return requests.get(f"{url}/datastore/image", params={"image": series_uid}).content


def two_findings(image: bytes, folder: Path) -> bytes:
    """Return a mask of an image with a large and a small finding, as the server sends it."""
    (folder / "image.nrrd").write_bytes(image)
    grid = VoxelGrid.from_file(folder / "image.nrrd")
    voxels = np.zeros(grid.shape, np.uint8)
    for (z, y, x), side in SIDES.items():
        voxels[z : z + side, y : y + side, x : x + side] = 1
    sitk.WriteImage(grid.mask(voxels), str(folder / "mask.nrrd"), useCompression=True)
    return (folder / "mask.nrrd").read_bytes()


def answer_runs(page: Page, mask: bytes) -> None:
    """Answer each run of the model with the two findings."""
    judged = [(SMALL, 0.934), (LARGE, 0.4)]
    findings = [{"voxel": place[::-1], "confidence": confidence} for place, confidence in judged]
    params = json.dumps({"model_version": "v1", "findings": findings, "warnings": ["the kernel is sharp"]})

    def answer(route: Route) -> None:
        route.fulfill(body=mask, content_type="application/octet-stream", headers={"Infer-Params": params})

    page.route(re.compile("/infer/lung_tumor[?]"), answer)


def check_stored_segs(reading: Reading) -> None:
    """C17: each is listed, loaded as one step to undo, shown, and compared with the mask."""
    expect(reading.stored).to_have_count(3)
    second, first, elsewhere = reading.stored.all()
    for row, name in ((second, "second"), (first, "first")):
        expect(row).to_contain_text(f"{name} reader")
        expect(row).to_contain_text(f"{np.count_nonzero(marked(READERS[name])) * VOXEL_MM3 / 1000:.1f} ml")
    expect(elsewhere).to_contain_text("another frame of reference than the series")
    expect(elsewhere.get_by_role("button")).to_have_count(0)
    second.get_by_role("button", name="Load").click()
    assert reading.ohif.message().endswith("is loaded.")
    assert np.array_equal(reading.ohif.labelmap().values, marked(READERS["second"]))
    expect(reading.part("unsaved")).to_be_hidden()
    first.get_by_role("button", name="Compare").click()
    expect(reading.part("comparisonText")).to_contain_text(
        "Dice 0.75, 9.4 ml only in the mask, 0 mm³ only in the label."
    )
    expect(first.get_by_role("button", name="Show")).to_have_attribute("aria-pressed", "true")
    second.get_by_role("button", name="Show").click()
    reading.part("difference").click()
    expect(reading.part("message")).to_have_text("Difference 1 of 1: 9.4 ml.")
    expect(reading.page.locator(".lunglabel-overlay-2")).to_have_count(3)  # one in each plane
    for row in (first, second):
        row.get_by_role("button", name="Show").click()
    expect(reading.page.locator(".lunglabel-overlay")).to_have_count(0)
    reading.ohif.undo()
    assert not reading.ohif.labelmap().values.any()
    expect(reading.part("comparisonText")).to_contain_text("Dice 0.00")


def check_proposals(reading: Reading) -> None:
    """Each is measured, the most confident first; one is accepted, the doubtful one is rejected with the slider."""
    page, findings = reading.page, reading.findings
    small, large = SIDES[SMALL] ** 3 * VOXEL_MM3 / 1000, SIDES[LARGE] ** 3 * VOXEL_MM3 / 1000
    expect(reading.part("result")).to_have_text(f"2 findings, {small + large:.1f} ml, largest 30 × 30 mm")
    expect(findings).to_have_count(2)
    expect(findings.nth(0)).to_have_text(re.compile(rf"2.*{small:.1f} ml.*93 %"))
    expect(findings.nth(1)).to_have_text(re.compile(rf"1.*30 × 30.*{large:.1f} ml.*40 %"))
    expect(reading.part("notes").locator("summary")).to_have_text("1 note on this scan")
    reading.check_keys()
    page.keyboard.press("a")
    expect(findings.nth(0)).to_have_class("lunglabel-accepted")
    page.locator('[data-findings="threshold"]').fill("0.5")
    expect(findings.nth(1)).to_have_class("lunglabel-rejected")
    expect(reading.part("result")).to_have_text(re.compile("^1 finding, "))


def check_stored(info: dict[str, Any], rulers: list[list[Point]]) -> None:
    """Check that all a reader said about the findings and measured is stored with the label."""
    assert [(one["state"], one["confidence"], one["texture"], one["note"]) for one in info["lesions"]] == [
        ("accepted", 0.934, "", ""),
        ("added", None, "ground_glass", "beside the heart"),
        ("rejected", 0.4, "", ""),
    ]
    assert [(one["kind"], one["plane"], one["points"]) for one in info["measurements"]] == [
        ("bidirectional", "coronal", rulers[0]),
        ("length", "sagittal", rulers[1]),
    ]


def measured_lesion(url: str, series_uid: str, info: dict[str, Any]) -> dict[str, Any]:
    """Return number and tracking UID of the lesion under which the SR has the axes that were drawn."""
    report = requests.get(f"{url}/datastore/label", params={"label": series_uid, "tag": "final", "output": "dicom_sr"})
    content = str(dcmread(io.BytesIO(report.content)))
    assert "Short axis" in content
    (measured,) = (one for one in info["lesion_numbers"] if content.count(one["uid"]) == 2)  # lesion and axes
    return measured


def test_case_on_a_folder(page, chromium, start_server, tmp_path, page_problems, screenshot):
    write_patients(tmp_path / "dicom", {name: PATIENTS[name] for name in (PATIENT, NEXT)})
    write_segs(tmp_path / "dicom", ["first", "elsewhere"])
    former_uid = write_former_study(tmp_path / "dicom")
    server = start_server(tmp_path / "dicom", scored_images=0)
    study_uid = study_instance_uid(PATIENT)
    series_uid = series_of(server.url, PATIENT, study_uid)
    image = image_of(server.url, series_uid)
    mask = two_findings(image, tmp_path)
    label_former_study(server, former_uid, image, tmp_path)
    answer_runs(large_page(page, "laptop"), mask)
    case = f"{server.url}/viewer/case"
    wait_for(lambda: len(requests.get(case, params={"image": series_uid}).json()["stored"]) == 1, "SEGs", seconds=120)
    reading = Reading(Ohif(page, server.url))
    ohif = reading.ohif
    findings = reading.findings
    ohif.open_study_list()
    expect(reading.state_of(study_uid)).to_have_text("imported")
    expect(reading.state_of(study_instance_uid(NEXT))).to_have_text("to do")
    ohif.open_monai_label(study_uid)
    ohif.wait_until_connected()
    reading.check_first_view()
    expect(reading.stored).to_have_count(2)
    write_segs(tmp_path / "dicom", ["second"])  # is listed while the case is open
    check_stored_segs(reading)
    screenshot(page, "case-stored")

    ohif.run_auto_segmentation("lung_tumor")
    reading.check_former_study(HIGHER_MM)
    screenshot(page, "case-beside")
    assert not page.get_by_text("Something went wrong").count()
    reading.leave_former_study()
    check_proposals(reading)
    reading.paint_with_a_gap_and_fill()
    expect(findings).to_have_count(3)
    expect(findings.nth(1)).to_contain_text("added")
    reading.check_drawn_tools()
    reading.check_only_lungs()
    reading.describe(findings.nth(1), "beside the heart", "ground_glass")
    reading.check_measuring()
    screenshot(page, "case-reviewed")

    painted, rulers = ohif.labelmap().values, reading.rulers()
    wait_for(lambda: draft_has(server.url, series_uid, painted, rulers), "the draft on the server", seconds=60)
    page.close()
    page = fresh_profile(chromium, page_problems)
    reading = Reading(Ohif(page, server.url))
    ohif, findings = reading.ohif, reading.findings
    ohif.open_study_list()
    expect(reading.state_of(study_uid)).to_have_text("in work")
    ohif.open_monai_label(study_uid)
    ohif.wait_until_connected()
    expect(reading.part("draftText")).to_contain_text("begun from no label and the mask of model v1.")
    assert ohif.press("restore") == "The draft is restored."
    assert np.array_equal(ohif.labelmap().values, painted)
    expect(findings.nth(0)).to_have_class("lunglabel-accepted")
    expect(reading.part("draft")).to_be_hidden()
    assert reading.rulers() == rulers

    assert ohif.submit("Dr. Reader").endswith(" is stored.")
    wait_for(lambda: draft_has(server.url, series_uid, np.zeros(0), []), "the end of the draft", seconds=60)
    first = stored_info(server.url, series_uid)
    check_stored(first, rulers)
    painted_lesion = measured_lesion(server.url, series_uid, first)
    series = f"{server.url}/proxy/dicom/qido/studies/{study_uid}/series"
    segs = len(READERS) + 2
    wait_for(lambda: len(requests.get(series).json()) > segs, "the DICOM SEG of the label", seconds=120)
    reading.reload()
    assert ohif.series() == series_uid, "the images are opened, not the SEG, which is newer"
    ohif.unfold_studies()
    page.locator('[data-cy^="study-browser-thumbnail"]', has_text="SEG").first.dblclick()
    assert "Load label puts it into the mask" in ohif.message()
    assert ohif.load_label().endswith("is loaded.")
    expect(page.get_by_label("Note on finding")).to_have_value("beside the heart")
    expect(page.get_by_label("Texture of finding")).to_have_value("ground_glass")
    assert not reading.part("unsaved").is_visible()
    assert reading.rulers() == rulers

    # A lesion keeps its number and its tracking UID when another is gone.
    findings.nth(1).get_by_role("button", name="Reject finding").click()
    reading.measured.nth(1).get_by_role("button", name="Remove").click()
    expect(reading.measured).to_have_count(1)
    assert ohif.submit("Dr. Reader").endswith(" is stored.")
    again = stored_info(server.url, series_uid)
    assert again["lesion_numbers"] == [painted_lesion]
    assert again["measurements"] == first["measurements"][:1]

    # The panel, its keys and the status page meet WCAG 2.1 AA.
    page.locator('[data-part="edits"] summary').click()
    reading.part("storedCount").click()
    page.keyboard.press("?")
    for selector in (".monaiLabelPanel", "dialog.lunglabel-keys"):
        assert not accessibility_problems(page, selector), selector
    page.keyboard.press("Escape")
    go_on(reading, study_uid)
    expect(reading.state_of(study_instance_uid(NEXT))).to_have_text("in work")
    screenshot(page, "case-study-list")
    page.goto(f"{server.url}/status")
    expect(page.locator("#cases")).to_contain_text("by Dr. Reader")
    assert not accessibility_problems(page, "body")
    assert page_problems.other_than_dropped(server.url) == [], "other than what was loading when a page was left"


def draft_has(url: str, series_uid: str, mask: np.ndarray, rulers: list[list[Point]]) -> bool:
    """Return whether the server has a draft with as many voxels and measurements."""
    draft = requests.get(f"{url}/viewer/draft", params={"image": series_uid, "session": "test"}).json()["draft"] or {}
    voxels = sum(draft.get("mask", [])[1::2])  # every other number is the length of a run
    return (voxels, len(draft.get("measurements", []))) == (np.count_nonzero(mask), len(rulers))


def refuse_draft(route: Route) -> None:
    """Answer like a server that is away when a draft is sent to it."""
    if route.request.method == "PUT":
        route.abort()
    else:
        route.continue_()


def fresh_profile(chromium: Browser, problems: PageProblems) -> Page:
    """Return a page of a browser that has stored nothing."""
    page = chromium.new_context(**WINDOW).new_page()
    problems.watch(page)
    return large_page(page, "laptop")


def go_on(reading: Reading, study_uid: str) -> None:
    """Open the next sample, then the study list, which tells that the study is labelled."""
    series = reading.ohif.series()
    reading.part("strategy").select_option("first")
    with reading.page.expect_navigation():
        reading.ohif.button("next").click()
    reading.ohif.wait_until_connected()
    assert reading.ohif.series() != series
    reading.ohif.open_study_list()
    expect(reading.state_of(study_uid)).to_have_text("labelled")


@pytest.fixture(scope="module")
def pacs_server(start_module_server, orthanc, phantom_studies, phantom_weights, tmp_path_factory):
    pacs = orthanc(phantom_studies.directory, user="reader", password="secret")
    model_dir = model_dir_with(phantom_weights, tmp_path_factory.mktemp("pacs") / "model")
    password = {"MONAI_LABEL_DICOMWEB_USERNAME": "reader", "MONAI_LABEL_DICOMWEB_PASSWORD": "secret"}
    return start_module_server(pacs.url, environment=password, model_dir=model_dir, scored_images=0)


@pytest.mark.pacs
def test_case_on_orthanc_with_a_password(page, pacs_server, phantom_studies, page_problems, screenshot, tmp_path):
    url, series = pacs_server.url, phantom_studies.of_patient("LUNG-006")
    reading = Reading(Ohif(large_page(page, "desktop"), url))
    ohif = reading.ohif
    assert ohif.open_study_list().keys() == {one.study_uid for one in phantom_studies.series}
    expect(reading.state_of(series.study_uid)).to_have_text("to do")
    ohif.open_monai_label(series.study_uid)
    assert ohif.wait_until_connected().rstrip("/") == url
    reading.check_first_view()

    ohif.run_auto_segmentation("lung_tumor")
    check_mask_on_lesions(ohif.labelmap(), series)
    expect(reading.part("result")).to_contain_text("finding")
    count = reading.findings.count()
    page.route(DRAFT, refuse_draft)  # it stays in the browser
    reading.findings.last.get_by_role("button", name="Reject").click()
    expect(reading.page.locator(".lunglabel-rejected")).to_have_count(1)
    ohif.undo()
    expect(reading.page.locator(".lunglabel-rejected")).to_have_count(0)
    expect(reading.findings).to_have_count(count)
    with page.expect_event("requestfailed", lambda request: DRAFT.search(request.url)):
        reading.paint_with_a_gap_and_fill()
    large = max(series.lesions, key=lambda lesion: lesion.diameter)
    ohif.show(large.center)
    screenshot(page, "case-on-orthanc")
    assert all(is_coloured(ohif.colour_at(viewport, large.center)) for viewport in MPR_VIEWPORTS)

    painted = ohif.labelmap().values
    expect(reading.part("draftPlace")).to_have_text("· draft in this browser only")
    page.unroute(DRAFT)
    page_problems.failed_requests.clear()
    reading.reload()
    assert ohif.press("restore") == "The draft is restored."
    assert ohif.submit("Dr. Reader") == "Label 1 is stored."
    stored = sitk.GetArrayFromImage(stored_label(url, series.series_uid, tmp_path))
    assert np.array_equal(stored, painted)
    reading.reload()
    assert ohif.load_label() == "Label 1 is loaded."
    assert np.array_equal(ohif.labelmap().values, stored)
    assert ohif.side_panel_dates() == ["06-Jan-2026"], "another patient's studies are listed"
    go_on(reading, series.study_uid)
    assert page_problems.other_than_dropped(url) == [], "other than what was loading when a page was left"
