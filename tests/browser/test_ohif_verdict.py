"""What became of a training, where the person who started it looks: in OHIF's panel."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.ohif import Ohif
from tests.browser.painting import open_patient
from tests.support.client import put_label
from tests.support.labels import PATIENTS, noise, patient_held_out
from tests.support.weights import model_dir_with

pytestmark = pytest.mark.browser

TRAINING = {"max_epochs": 2, "patches_per_volume": 16, "patch_size": 64, "val_interval": 10, "learning_rate": 0.01}


def test_a_refused_candidate_is_told_with_the_reason(
    page, start_server, phantom_studies, phantom_weights, tmp_path, page_problems, screenshot
):
    model_dir = model_dir_with(phantom_weights, tmp_path / "model")
    server = start_server(phantom_studies.directory, model_dir=model_dir, scored_images=0, **TRAINING)
    held_out = patient_held_out(tmp_path)
    for patient in PATIENTS:
        series = phantom_studies.of_patient(patient)
        label = series.truth if patient == held_out else noise(series.truth, tmp_path / f"{patient}.nii.gz")
        assert put_label(server, series.series_uid, label).status_code == 200
    ohif = Ohif(page, server.url)
    open_patient(ohif, held_out)
    expect(ohif.status("verdict")).to_be_hidden()
    ohif.status("train").click()
    expect(ohif.status("training")).to_be_visible()
    expect(ohif.status("stop")).to_be_visible()
    expect(ohif.status("verdict")).to_have_text(
        re.compile(r"Last training: Refused: .*Dice.*\d\.\d+ .*\d\.\d+"), timeout=300_000
    )
    expect(ohif.status("model")).to_have_text("Model in use: pretrained")
    expect(ohif.status("training")).to_be_hidden()
    ohif.status("train").click(trial=True)  # nothing lies over it, however long the reason
    screenshot(page, "verdict-refused")
    assert not page_problems.of(server.url)
