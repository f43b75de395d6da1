"""The same workflow on Orthanc with a password."""

import numpy as np
import pytest
import requests
import SimpleITK as sitk

from tests.browser.masks import check_mask_on_lesions, is_coloured
from tests.browser.ohif import MPR_VIEWPORTS, Ohif
from tests.support.weights import model_dir_with

pytestmark = [pytest.mark.browser, pytest.mark.pacs]


@pytest.fixture(scope="module")
def server(start_module_server, orthanc, phantom_studies, phantom_weights, tmp_path_factory):
    pacs = orthanc(phantom_studies.directory, user="reader", password="secret")
    model_dir = model_dir_with(phantom_weights, tmp_path_factory.mktemp("pacs") / "model")
    password = {"MONAI_LABEL_DICOMWEB_USERNAME": "reader", "MONAI_LABEL_DICOMWEB_PASSWORD": "secret"}
    return start_module_server(pacs.url, environment=password, model_dir=model_dir, scored_images=0)


def test_mask_is_on_the_lesion_of_a_pacs_study(page, server, phantom_studies, page_problems, screenshot, tmp_path):
    ohif = Ohif(page, server.url)
    rows = ohif.open_study_list()
    assert rows.keys() == {series.study_uid for series in phantom_studies.series}
    screenshot(page, "pacs-study-list")

    series = phantom_studies.of_patient("LUNG-006")
    ohif.open_monai_label(series.study_uid)
    assert ohif.side_panel_dates() == ["06-Jan-2026"], "another patient's studies are listed"
    assert ohif.wait_until_connected().rstrip("/") == server.url
    ohif.run_auto_segmentation("lung_tumor")
    check_mask_on_lesions(ohif.labelmap(), series)

    large = max(series.lesions, key=lambda lesion: lesion.diameter)
    ohif.show(large.center)
    screenshot(page, "pacs-mask-on-lesion")
    assert all(is_coloured(ohif.colour_at(viewport, large.center)) for viewport in MPR_VIEWPORTS)

    ohif.choose_tool("brush", diameter=16)
    ohif.stroke("mpr-coronal", large.center, (large.center[0] - 30, *large.center[1:]))
    assert ohif.submit("Dr. Reader") == "Label 1 is stored."
    answer = requests.get(f"{server.url}/datastore/label", params={"label": series.series_uid, "tag": "final"})
    (tmp_path / "label.nii.gz").write_bytes(answer.content)
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "label.nii.gz")))
    assert np.array_equal(stored, ohif.labelmap().values)
    page.reload()
    ohif.wait_until_connected()
    assert ohif.load_label() == "Label 1 is loaded."
    assert np.array_equal(stored, ohif.labelmap().values)
    assert not page_problems.of(server.url)
