"""The verdict on a training in OHIF's panel."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.ohif import Ohif
from tests.browser.painting import open_patient
from tests.support.client import put_label, wait_until_indexed
from tests.support.weights import DESTRUCTIVE, model_dir_with

pytestmark = pytest.mark.browser

PATIENTS = ("LUNG-001", "LUNG-002")
TRAINING = {"max_epochs": 2, "patches_per_volume": 16, "patch_size": 64, **DESTRUCTIVE}


def test_refused_candidate_is_shown_with_the_reason(
    page, start_server, phantom_studies, phantom_weights, tmp_path, page_problems, screenshot
):
    model_dir = model_dir_with(phantom_weights, tmp_path / "model")
    server = start_server(phantom_studies.directory, model_dir=model_dir, scored_images=0, views=1, **TRAINING)
    wait_until_indexed(server)
    for patient in PATIENTS:
        series = phantom_studies.of_patient(patient)
        assert put_label(server, series.series_uid, series.truth).status_code == 200
    ohif = Ohif(page, server.url)
    open_patient(ohif, PATIENTS[0])
    expect(ohif.status("verdict")).to_be_hidden()
    ohif.status("train").click()
    expect(ohif.status("training")).to_be_visible()
    expect(ohif.status("stop")).to_be_visible()
    expect(ohif.status("verdict")).to_have_text(
        re.compile(r"Last training: Refused: .* on 0 of 2 patients, Dice \d\.\d+ → 0\.\d+, false findings .*stays\."),
        timeout=300_000,
    )
    expect(ohif.status("model")).to_have_text("Model in use: pretrained")
    expect(ohif.status("training")).to_be_hidden()
    ohif.status("train").click(trial=True)  # not covered by the text, however long
    screenshot(page, "verdict-refused")
    assert not page_problems.of(server.url)
