"""C17: if several objects mark a scan, the panel lists them and loads the chosen one."""

import numpy as np
import pytest
from pydicom import dcmread

from lib.exports.dicom_seg import segmentation
from lib.exports.provenance import Provenance
from lib.exports.source_images import SourceImages
from lib.settings import load_info
from tests.browser.ohif import Ohif
from tests.browser.painting import GRID, STORED, open_patient, write_patients

pytestmark = pytest.mark.browser


def test_c17_panel_lists_and_loads_candidates(page, start_server, tmp_path, page_problems):
    folder = tmp_path / "dicom"
    write_patients(folder, {"HEAD-FIRST": STORED["HEAD-FIRST"]})
    headers = [dcmread(path, stop_before_pixels=True).to_json_dict() for path in (folder / "HEAD-FIRST").iterdir()]
    masks = {}
    for name, depth in (("first", 3), ("second", 5)):
        masks[name] = np.zeros(GRID["shape"], np.uint8)
        masks[name][10 : 10 + depth, 40:50, 60:75] = 1
        provenance = Provenance(name, depth, 86400.0 * depth, "MANUAL")
        seg = segmentation(masks[name], SourceImages.of(headers), provenance, load_info())
        seg.ContentDescription = f"{name} reader"
        seg.save_as(folder / f"{name}.dcm", write_like_original=False)
    server = start_server(folder)

    ohif = Ohif(page, server.url)
    open_patient(ohif, "HEAD-FIRST")
    offered = page.locator('[data-part="candidates"] option')
    offered.nth(1).wait_for(state="attached")
    texts = offered.all_inner_texts()
    millilitres = [np.count_nonzero(mask) * 4 * 2.8 * 2.8 / 1000 for mask in masks.values()]
    for text, name, ml in zip(texts, masks, millilitres, strict=True):
        assert f"{ml:.2f} ml" in text and f"{name} reader" in text and "SEG of" in text
    page.locator('[data-part="candidates"]').select_option(index=1)
    assert ohif.load_label().endswith("is loaded.")
    assert np.array_equal(ohif.labelmap().values, masks["second"])
    assert ohif.submit("Dr. Reader").endswith("is stored.")
    assert offered.first.inner_text().endswith("in use")
