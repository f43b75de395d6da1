"""The verdict on a worse candidate in OHIF's panel: it is kept but not served."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.ohif import Ohif
from tests.browser.painting import open_patient
from tests.support.client import mask_of, put_label, train_stats, wait_until_indexed
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
    before = mask_of(server, series, tmp_path / "before.nrrd")
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
    assert ohif.status("verdict").bounding_box()["height"] < 40, "two lines, however long the text"
    expect(ohif.status("model")).to_have_text("Model in use: pretrained")
    expect(ohif.status("training")).to_be_hidden()
    ohif.status("train").click(trial=True)  # not covered by the text, however long
    screenshot(page, "verdict-refused")
    assert not page_problems.of(server.url)
    stats = train_stats(server)
    assert stats["verdict"]["outcome"] == "refused"
    assert stats["verdict"]["candidate"]["patients"].keys() == set(PATIENTS)
    assert np.array_equal(before, mask_of(server, series, tmp_path / "after.nrrd"))
    assert (server.log.parents[1] / "workspace" / "models" / "versions" / stats["version"] / "model.pt").exists()
    assert f"Version {stats['version']}: refused" in server.log_text()
