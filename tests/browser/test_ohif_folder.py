"""From the study list to a mask on the lesion, on a plain folder of DICOM files."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import requests
from playwright.sync_api import expect

from lib.evaluation.attention_picture import PANEL_PX
from lib.phantoms import Acquisition, PhantomLesion, chest_volume, study_instance_uid, write_dicom_series
from tests.browser.masks import check_mask_on_lesions, found_share, is_coloured
from tests.browser.ohif import Ohif
from tests.support.weights import model_dir_with
from tools.support.chromium import MPR_VIEWPORTS

pytestmark = pytest.mark.browser

# Small, so that the reformatted and turned scans are fast.
TURNED = {
    "TURNED-FEET-FIRST": Acquisition(shape=(36, 128, 128), spacing=(4, 2.8, 2.8), plane="feet_first_supine"),
    "TURNED-SAGITTAL": Acquisition(shape=(88, 50, 80), spacing=(4, 3, 3.2), plane="sagittal"),
}
TURNED_LESIONS = (PhantomLesion((-78, 28, 22), 26), PhantomLesion((88, 36, -16), 22))


@pytest.fixture(scope="module")
def studies(phantom_studies, tmp_path_factory) -> Path:
    """Return the demo patients and two whose slices do not run from feet to head."""
    folder = tmp_path_factory.mktemp("studies") / "dicom"
    shutil.copytree(phantom_studies.directory, folder, copy_function=os.link)
    for seed, (patient_id, acquisition) in enumerate(TURNED.items(), start=21):
        hu, _, affine = chest_volume(seed, lesions=TURNED_LESIONS, acquisition=acquisition)
        write_dicom_series(
            folder / "turned" / patient_id,
            hu,
            affine,
            patient_id=patient_id,
            patient_position=acquisition.patient_position,
            descending_instances=True,
            shuffle_files=True,
        )
    return folder


@pytest.fixture(scope="module")
def server(start_module_server, studies, phantom_weights, tmp_path_factory):
    model_dir = model_dir_with(phantom_weights, tmp_path_factory.mktemp("folder") / "model")
    return start_module_server(studies, model_dir=model_dir, scored_images=0)


@pytest.fixture
def ohif(page, server) -> Ohif:
    return Ohif(page, server.url)


def test_study_list_shows_every_patient(ohif, phantom_studies, page_problems, screenshot):
    rows = ohif.open_study_list()
    wanted = {series.study_uid: series.patient_id for series in phantom_studies.series}
    wanted |= {study_instance_uid(patient_id): patient_id for patient_id in TURNED}
    assert rows.keys() == wanted.keys()
    for study_uid, patient_id in wanted.items():
        assert patient_id in rows[study_uid]
        slices = sum(s.acquisition.shape[0] for s in phantom_studies.series if s.study_uid == study_uid)
        assert str(slices or TURNED[patient_id].shape[0]) in rows[study_uid].split()
    screenshot(ohif.page, "folder-study-list")
    assert not page_problems.of(ohif.server_url)


def test_run_segments_the_lesions(ohif, phantom_studies, page_problems, screenshot):
    series = phantom_studies.of_patient("LUNG-003")
    ohif.open_study_list()
    ohif.open_monai_label(series.study_uid)
    assert ohif.side_panel_dates() == ["03-Jan-2026"]
    assert ohif.wait_until_connected().rstrip("/") == ohif.server_url
    ohif.run_auto_segmentation("lung_tumor")
    check_mask_on_lesions(ohif.labelmap(), series)

    large = series.lesions[0].center
    ohif.show(large)
    screenshot(ohif.page, "folder-mask-on-lesion")
    mirrored = (-large[0], large[1], large[2])
    for viewport in MPR_VIEWPORTS:
        assert is_coloured(ohif.colour_at(viewport, large)), viewport
    ohif.show(mirrored)  # a run ends zoomed in, so both sides are not in view at once
    assert not is_coloured(ohif.colour_at("mpr-axial", mirrored))
    ohif.show(large)

    ohif.button("attention").click()
    picture = ohif.page.locator("dialog img")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 4 * PANEL_PX
    screenshot(ohif.page, "folder-attention")
    ohif.page.keyboard.press("Escape")
    expect(picture).to_have_count(0)

    ohif.choose_tool("eraser", diameter=20)
    ohif.stroke("mpr-axial", large, (large[0] + 10, *large[1:]))
    assert ohif.submit("Dr. Reader") == "Label 1 is stored."
    query = {"label": series.series_uid, "tag": "final"}
    info = requests.get(f"{ohif.server_url}/datastore/label/info", params=query).json()
    assert info["model_version"] == "pretrained", "the model of the corrected mask"
    assert info["voxels"] == np.count_nonzero(ohif.labelmap().values)
    ohif.undo()
    ohif.undo()
    assert not ohif.labelmap().values.any(), "a run can be undone like a stroke"
    assert not page_problems.of(ohif.server_url)


@pytest.mark.parametrize("patient_id", TURNED)
def test_mask_of_a_turned_scan_is_not_mirrored(patient_id, ohif, screenshot):
    ohif.open_study_list()
    ohif.open_monai_label(study_instance_uid(patient_id))
    ohif.wait_until_connected()
    ohif.run_auto_segmentation("lung_tumor")
    labelmap = ohif.labelmap()
    np.testing.assert_allclose(labelmap.affine, TURNED[patient_id].affine, atol=1e-3)
    for lesion in TURNED_LESIONS:
        assert found_share(labelmap, lesion) > 0.5, lesion
    for flip in ((-1, 1, 1), (1, -1, 1), (1, 1, -1)):
        for lesion in TURNED_LESIONS:
            assert found_share(labelmap, PhantomLesion(tuple(np.multiply(lesion.center, flip)), lesion.diameter)) < 0.2
    ohif.show(TURNED_LESIONS[0].center)
    screenshot(ohif.page, f"folder-{patient_id.lower()}")
