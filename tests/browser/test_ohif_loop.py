"""The main workflow in one browser tab: run, correct, submit, retrain, next sample."""

import numpy as np
import pytest
import requests
import SimpleITK as sitk
from playwright.sync_api import expect

from lib.publishing import ModelStore
from tests.browser.masks import found_share
from tests.browser.ohif import Ohif
from tests.browser.painting import (
    BRUSH_MM,
    LESION,
    STORED,
    check_strokes,
    open_patient,
    paint,
    points_of,
    series_of,
    stored_info,
    stored_label,
    write_patients,
)
from tests.support.weights import model_dir_with

pytestmark = pytest.mark.browser

CASES = {name: STORED[name] for name in ("REVERSED", "FEET-FIRST")}
# Minimal training, with a learning rate so low that the retrained model still finds the lesion.
TRAINING = {"retrain_after": 1, "max_epochs": 1, "patches_per_volume": 2, "patch_size": 64, "learning_rate": 1e-6}


@pytest.fixture(scope="module")
def server(start_module_server, phantom_weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loop")
    write_patients(folder / "dicom", CASES)
    model_dir = model_dir_with(phantom_weights, folder / "model")
    return start_module_server(folder / "dicom", model_dir=model_dir, scored_images=0, **TRAINING)


def use_go_back_and_use_again(ohif: Ohif, version: str) -> None:
    """C9, U2: a person decides about a version that is not put into use by itself, and can take that back."""
    expect(ohif.page.locator('[data-model="lung_tumor"]')).to_contain_text(f"Kept, not in use: {version} (")
    for button, chosen in (("use", version), ("back", "pretrained"), ("use", version)):
        assert ohif.press(button) == f"Model in use from now on: {chosen}."
        expect(ohif.status("model")).to_have_text(f"Model in use: {chosen}")
        expect(ohif.button("back" if button == "use" else "use")).to_be_visible()
        expect(ohif.button(button)).to_be_hidden()  # both would mean the same version
    expect(ohif.status("verdict")).to_contain_text("is in use now, because a person chose it. The result was: Kept")


def test_run_correct_submit_retrain_until_all_cases_are_labelled(page, server, tmp_path, page_problems, screenshot):
    ohif = Ohif(page, server.url)
    patients = {series_of(server.url, patient_id): patient_id for patient_id in CASES}
    series_uid = min(patients)  # the strategy "first" offers the others in this order
    open_patient(ohif, patients[series_uid])
    ohif.page.locator('[data-part="strategy"]').select_option("first")
    version = "pretrained"
    for number, expected in enumerate(sorted(patients), start=1):
        assert ohif.series() == expected == series_uid
        ohif.run_auto_segmentation("lung_tumor")
        run = ohif.labelmap()
        assert found_share(run, LESION) > 0.5, patients[series_uid]
        ohif.choose_tool("brush", diameter=BRUSH_MM)
        paint(ohif, "mpr-coronal")
        assert ohif.submit("Dr. Reader") == "Label 1 is stored."

        label = stored_label(server.url, series_uid, tmp_path)
        held = ohif.labelmap()
        np.testing.assert_array_equal(sitk.GetArrayFromImage(label), held.values)
        assert np.count_nonzero(held.values) > np.count_nonzero(run.values)
        check_strokes(label, ("mpr-coronal",), elsewhere=True)
        at_lesion = np.linalg.norm(points_of(label) - LESION.center, axis=1) < LESION.diameter / 2
        volume = np.count_nonzero(at_lesion) * np.prod(label.GetSpacing())
        assert volume > 0.5 * np.pi / 6 * LESION.diameter**3
        assert stored_info(server.url, series_uid)["model_version"] == version

        if number == 1:
            expect(ohif.status("training")).to_be_visible()
            screenshot(page, "loop-training")
            expect(ohif.status("verdict")).to_contain_text(
                "Kept, not in use: it was not measured, because one labelled", timeout=300_000
            )
            expect(ohif.status("model")).to_have_text("Model in use: pretrained")
            version = requests.get(f"{server.url}/viewer/status").json()["versions"][0]["kept"]["version"]
            use_go_back_and_use_again(ohif, version)
            screenshot(page, "loop-verdict")
        with page.expect_navigation():
            ohif.button("next").click()
        ohif.wait_until_connected()
        series_uid = ohif.series()
    expect(ohif.status("cases")).to_have_text("2 of 2 cases labelled")
    expect(page.locator('[data-part="message"]')).to_contain_text("offered for review")
    assert series_uid in patients
    history = ModelStore(server.log.parents[1] / "workspace" / "models").history()
    assert [entry["by"] for entry in history] == ["Dr. Reader"] * 3
    screenshot(page, "loop-review")
    assert not page_problems.of(server.url)
