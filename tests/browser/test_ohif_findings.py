"""The table of findings in OHIF's panel, with the model's confidence in each."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import requests
import SimpleITK as sitk
from playwright.sync_api import Route, expect

from lib.geometry.voxel_grid import VoxelGrid
from tests.browser.ohif import Ohif
from tests.browser.painting import BRUSH_MM, open_patient, paint, series_of, write_patients
from tests.browser.painting import STORED as PATIENTS

pytestmark = pytest.mark.browser

PATIENT = "FEET-FIRST"
LARGE, SMALL = (20, 40, 30), (8, 70, 90)  # slice, row, column of the first voxel of each finding


def two_findings(image: bytes, folder: Path) -> bytes:
    """Return a mask of an image with a large and a small finding, as the server sends it."""
    (folder / "image.nrrd").write_bytes(image)
    grid = VoxelGrid.from_file(folder / "image.nrrd")
    voxels = np.zeros(grid.shape, np.uint8)
    for (z, y, x), side in ((LARGE, 8), (SMALL, 4)):
        voxels[z : z + side, y : y + side, x : x + side] = 1
    sitk.WriteImage(grid.mask(voxels), str(folder / "mask.nrrd"), useCompression=True)
    return (folder / "mask.nrrd").read_bytes()


def test_table_lists_findings_with_their_confidence(page, start_server, tmp_path, page_problems, screenshot):
    write_patients(tmp_path / "dicom", {PATIENT: PATIENTS[PATIENT]})
    server = start_server(tmp_path / "dicom", scored_images=0)
    query = {"image": series_of(server.url, PATIENT)}
    mask = two_findings(requests.get(f"{server.url}/datastore/image", params=query).content, tmp_path)
    judged = [(SMALL, 0.934), (LARGE, 0.4)]
    findings = [{"voxel": place[::-1], "confidence": confidence} for place, confidence in judged]
    params = json.dumps({"model_version": "v1", "findings": findings, "warnings": []})

    def answer(route: Route) -> None:
        route.fulfill(body=mask, content_type="application/octet-stream", headers={"Infer-Params": params})

    page.route(re.compile("/infer/"), answer)
    ohif = Ohif(page, server.url)
    open_patient(ohif, PATIENT)
    table, message = (page.locator(f'[data-part="{name}"]') for name in ("findings", "message"))
    rows = table.locator("tbody tr")
    expect(table).to_be_hidden()
    ohif.run_auto_segmentation("lung_tumor")
    small, large = 4**3 * 4 * 2.8**2 / 1000, 8**3 * 4 * 2.8**2 / 1000
    expect(rows).to_have_text([rf"Finding 1{small:.2f} ml93 %", rf"Finding 2{large:.2f} ml40 %"])
    expect(table.locator("th").last).to_have_text("Confidence")
    expect(message).to_have_text(f"Finding 1 of 2: {small:.2f} ml, confidence 93 %.")
    screenshot(page, "findings-run")

    rows.nth(1).locator("button").click()
    expect(message).to_have_text(f"Finding 2 of 2: {large:.2f} ml, confidence 40 %.")
    ohif.choose_tool("brush", diameter=BRUSH_MM)
    paint(ohif, "mpr-coronal")
    expect(rows).to_have_count(3)
    expect(rows.nth(2).locator("td").last).to_have_text("–")
    ohif.undo()
    ohif.undo()
    expect(table).to_be_hidden()
    ohif.redo()
    expect(rows.first).to_contain_text("93 %")
    assert not page_problems.of(server.url)
