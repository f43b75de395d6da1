"""OHIF's basic viewer: stored results, and images in all transfer syntaxes."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import requests
import SimpleITK as sitk
from playwright.sync_api import Page
from pydicom import dcmread
from pydicom.uid import generate_uid

from lib.dicomweb import multipart
from tests.browser.ohif import PATIENCE_MS
from tests.conftest import SHARED_DATA
from tests.support.client import put_label
from tests.support.dicom_variants import SYNTAXES, change, sorted_slices, transcode
from tools.support.waiting import wait_for

pytestmark = pytest.mark.browser

REAL = ("CT1_J2KI", "CT1_J2KR", "CT1_JLSL", "CT1_JLSN", "CT1_JPLL", "CT1_RLE")
LOSSY = 5  # tolerance in HU between two decoders of a lossy JPEG 2000

READ_SEGMENTATION = """kind => {
    const found = window.services.segmentationService.getSegmentations();
    const {imageIds} = found.find(one => one.representationData[kind]).representationData[kind];
    return imageIds.map(id => {
        const plane = window.cornerstone.metaData.get('imagePlaneModule', id);
        const values = window.cornerstone.cache.getImage(id).voxelManager.getScalarData();
        const marked = [];
        values.forEach((value, place) => value && marked.push(place));
        return {position: plane.imagePositionPatient, marked};
    });
}"""

READ_CONTOURS = """() => window.cornerstoneTools.annotation.state.getAllAnnotations()
    .filter(one => one.data.contour && one.data.segmentation)
    .map(one => one.data.contour.polyline)"""

HAS_SEGMENTATION = """kind => window.services.segmentationService.getSegmentations()
    .some(one => one.representationData[kind])"""

SHOWN_VALUES = """() => {
    const {activeViewportId} = window.services.viewportGridService.getState();
    const viewport = window.services.cornerstoneViewportService.getCornerstoneViewport(activeViewportId);
    const image = viewport?.getCornerstoneImage?.();
    if (!image) return null;
    const values = image.voxelManager.getScalarData();
    const scaled = image.preScale?.scaled;
    return Array.from(values, value => scaled ? value : value * image.slope + image.intercept);
}"""


def open_in_viewer(page: Page, url: str, study_uid: str) -> None:
    """Open a study in OHIF's basic viewer."""
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{url}/ohif/viewer?StudyInstanceUIDs={study_uid}")
    page.locator('[data-cy^="study-browser-thumbnail"]').first.wait_for()


def open_result(page: Page, modality: str, kind: str) -> None:
    """Show a SEG or RTSTRUCT of the study on its images."""
    page.wait_for_function(SHOWN_VALUES)
    page.locator('[data-cy^="study-browser-thumbnail"]', has_text=modality).dblclick()
    page.get_by_role("button", name="Yes", exact=True).click()
    page.wait_for_function(HAS_SEGMENTATION, arg=kind)


@pytest.fixture(scope="module")
def case(phantom_studies):
    return phantom_studies.of_patient("LUNG-003")


@pytest.fixture(scope="module")
def results(start_module_server, case) -> tuple[str, list]:
    """Return the URL of a server with a SEG and an RTSTRUCT of the truth, and the contours of the latter."""
    server = start_module_server(case.directory)
    assert put_label(server, case.series_uid, case.truth).status_code == 200
    query = {"label": case.series_uid, "output": "rtstruct"}
    rtstruct = requests.get(f"{server.url}/datastore/label", params=query).content
    body, kind = multipart.encode([rtstruct], "application/dicom")
    stow = requests.post(f"{server.url}/proxy/dicom/stow/studies", data=body, headers={"Content-Type": kind})
    assert stow.status_code == 200, stow.text
    series = f"{server.url}/proxy/dicom/qido/studies/{case.study_uid}/series"
    # The SEG is stored in the background, after the label.
    wait_for(lambda: len(requests.get(series).json()) >= 3, "the DICOM SEG of the label", seconds=120)
    contours = dcmread(io.BytesIO(rtstruct)).ROIContourSequence[0].ContourSequence
    return server.url, [np.array(one.ContourData, float).reshape(-1, 3) for one in contours]


def test_stored_seg_has_the_voxels_of_its_label(results, case, page, page_problems, screenshot):
    open_in_viewer(page, results[0], case.study_uid)
    open_result(page, "SEG", "Labelmap")
    truth = sitk.ReadImage(str(case.truth))
    shown = np.zeros(truth.GetSize()[::-1], np.uint8)
    for plane in page.evaluate(READ_SEGMENTATION, "Labelmap"):
        column, row, slice_ = truth.TransformPhysicalPointToIndex(plane["position"])
        assert (column, row) == (0, 0)
        shown[slice_].flat[plane["marked"]] = 1
    assert np.array_equal(shown, sitk.GetArrayFromImage(truth))
    screenshot(page, "viewer-seg")
    assert not page_problems.of(results[0])


def test_stored_rtstruct_has_its_contours(results, case, page, page_problems, screenshot):
    open_in_viewer(page, results[0], case.study_uid)
    open_result(page, "RTSTRUCT", "Contour")

    def points(contours: list) -> np.ndarray:
        rows = np.concatenate([np.asarray(one, float).reshape(-1, 3) for one in contours]).round(2) + 0.0
        return np.unique(rows, axis=0)

    np.testing.assert_allclose(points(page.evaluate(READ_CONTOURS)), points(results[1]), atol=0.011)
    screenshot(page, "viewer-rtstruct")
    assert not page_problems.of(results[0])


@pytest.fixture(scope="module")
def encodings(phantom_studies, tmp_path_factory) -> dict[str, tuple[Path, str]]:
    """Return a folder of each encoding and its StudyInstanceUID; real compressed slices only where available."""
    root = tmp_path_factory.mktemp("encodings")
    made = {}
    for syntax in SYNTAXES:
        folder = root / "studies" / syntax.name
        shutil.copytree(phantom_studies.of_patient("LUNG-003").directory, folder)
        for path in sorted_slices(folder)[3:]:
            path.unlink()
        transcode(folder, syntax)
        made[syntax.name] = folder
    real = SHARED_DATA / "wg04-ct-syntaxes"
    for name in REAL if real.is_dir() else ():
        folder = root / "studies" / name
        folder.mkdir()
        shutil.copy(real / name, folder)
        made[name] = folder
    return {name: (folder, _with_new_uids(folder)) for name, folder in made.items()}


def _with_new_uids(folder: Path) -> str:
    study, series = generate_uid(), generate_uid()

    def edit(dataset) -> None:
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()

    change(list(folder.iterdir()), edit)
    return study


@pytest.fixture(scope="module")
def encodings_url(start_module_server, encodings) -> str:
    return start_module_server(next(iter(encodings.values()))[0].parent).url


@pytest.mark.parametrize("name", [*(syntax.name for syntax in SYNTAXES), *REAL])
def test_every_encoding_shows_its_values(name, encodings, encodings_url, page, page_problems):
    if name not in encodings:
        pytest.skip("SKIPPED: no real CT data at ../shared/data; it is not part of this repository")
    folder, study_uid = encodings[name]
    open_in_viewer(page, encodings_url, study_uid)
    shown = page.wait_for_function(SHOWN_VALUES).json_value()
    slices = [sitk.GetArrayFromImage(sitk.ReadImage(str(path))).ravel().astype(float) for path in folder.iterdir()]
    nearest = min(np.abs(one - shown).max() for one in slices)
    assert nearest <= (LOSSY if name == "CT1_J2KI" else 0)
    assert not page_problems.of(encodings_url)
