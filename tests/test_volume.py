"""From slices to a volume: on the true grid, whatever the order and orientation; refused where there is none."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread

from lib.datastore.slice_geometry import series_problem
from lib.datastore.volume import read_volume
from lib.dicomweb.dicom_file import read_index_header
from lib.phantoms import Acquisition, write_dicom_series

SHAPE = (12, 20, 28)


def corner_block(shape: tuple[int, int, int]) -> np.ndarray:
    """Air with a bright box near one corner: nothing symmetric."""
    hu = np.full(shape, -900, np.int16)
    hu[2:4, 3:6, 5:11] = 300
    return hu


def headers(paths: list[Path]) -> list[dict]:
    return [read_index_header(path)[0].to_json_dict() for path in paths]


@pytest.mark.parametrize("plane", ["head_first_supine", "head_first_prone", "feet_first_supine", "sagittal", "coronal"])
@pytest.mark.parametrize("oblique", [0.0, 1.0])
def test_every_voxel_lies_where_the_slices_say(tmp_path, plane, oblique):
    acquisition = Acquisition(shape=SHAPE, spacing=(2.5, 0.8, 0.7), plane=plane, oblique_degrees=oblique)
    hu, affine = corner_block(SHAPE), acquisition.affine
    write_dicom_series(tmp_path, hu, affine, patient_id="P", shuffle_files=True, descending_instances=True)
    image = read_volume(sorted(tmp_path.glob("*.dcm")))
    assert image.GetPixelID() == sitk.sitkInt16
    for index in np.argwhere(hu == 300)[::7]:
        mm = affine @ [index[2], index[1], index[0], 1]
        assert image[image.TransformPhysicalPointToIndex(mm[:3].tolist())] == 300
    assert int((sitk.GetArrayViewFromImage(image) == 300).sum()) == int((hu == 300).sum())
    np.testing.assert_allclose(sorted(image.GetSpacing()), [0.7, 0.8, 2.5], atol=1e-5)


def test_same_grid_and_voxels_as_simpleitk_on_a_real_scan(shared_data):
    paths = sorted((shared_data / "lidc-idri-0001").glob("*.dcm"))
    image = read_volume(paths)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(shared_data / "lidc-idri-0001")))
    expected = reader.Execute()
    assert image.GetSize() == expected.GetSize() == (512, 512, 133)
    np.testing.assert_allclose(image.GetOrigin(), expected.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(image.GetSpacing(), expected.GetSpacing(), atol=1e-6)
    np.testing.assert_allclose(image.GetDirection(), expected.GetDirection(), atol=1e-6)
    assert np.array_equal(sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(expected))


def test_compressed_slices_without_uids_load(shared_data):
    image = read_volume(sorted((shared_data / "totalseg-example-ct-dicom").iterdir()))
    assert image.GetSize()[2] == 20
    values = sitk.GetArrayViewFromImage(image)
    assert values.min() < -900 < 500 < values.max()


def phantom_headers(tmp_path: Path, **acquisition) -> list[dict]:
    grid = Acquisition(shape=(6, 16, 16), spacing=(2.5, 1.0, 1.0), **acquisition)
    write_dicom_series(tmp_path, np.zeros(grid.shape, np.int16), grid.affine, patient_id="P")
    return headers(sorted(tmp_path.glob("*.dcm")))


def test_a_regular_series_has_no_problem(tmp_path):
    assert series_problem("CT", phantom_headers(tmp_path)) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h: h[:2], "2 slice(s)"),
        (lambda h: h[:2] + h[3:], "not evenly spaced: gaps from 2.50 to 5.00 mm"),
        (lambda h: [*h, h[0]], "several slices at one position"),
        (lambda h: [{**h[0], "00280010": {"vr": "US", "Value": [8]}}, *h[1:]], "different image heights"),
        (lambda h: [{**h[0], "00080008": {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}}, *h], "scout"),
        (lambda h: [{k: v for k, v in h[0].items() if k != "00200032"}, *h[1:]], "no Image Position"),
        (lambda h: [{**x, "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.7"]}} for x in h], "capture"),
    ],
)
def test_what_is_no_volume_is_refused_with_the_reason(tmp_path, change, reason):
    assert reason in series_problem("CT", change(phantom_headers(tmp_path)))


def test_other_modalities_and_tilt_are_refused(tmp_path):
    assert "modality PT" in series_problem("PT", [])
    assert "gantry tilt of 12.0°" in series_problem("CT", phantom_headers(tmp_path, gantry_tilt_degrees=12))


def test_uneven_real_series_is_refused_with_its_gaps(shared_data):
    found = headers(sorted((shared_data / "dcm_qa_ct-ge-tilt").glob("*.dcm")))
    assert "1.08 to 7.00 mm" in series_problem("CT", found)


def test_damaged_slice_is_an_error_not_a_hole(tmp_path):
    phantom_headers(tmp_path)
    path = sorted(tmp_path.glob("*.dcm"))[2]
    dataset = dcmread(path)
    dataset.ImagePositionPatient = [0, 0, 999]
    dataset.save_as(path)
    with pytest.raises(ValueError, match="not evenly spaced"):
        read_volume(sorted(tmp_path.glob("*.dcm")))
