"""From slices to a volume: positions for any order, spacing and tilt; refused if the slices form no stack."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from monai.transforms import LoadImage
from pydicom import dcmread

from lib.datastore.series_usability import SeriesUsability, check_series
from lib.datastore.volume import read_file, read_volume, write_mask
from lib.dicomweb.dicom_file import read_index_header, read_metadata
from lib.geometry.slice_stack import SliceStack
from lib.geometry.voxel_grid import VoxelGrid
from lib.phantoms import Acquisition, write_dicom_series
from tests.support.dicom_variants import SYNTAXES, change, sorted_slices, transcode, write_multi_frame

SHAPE = (12, 20, 28)


def corner_block(shape: tuple[int, int, int]) -> np.ndarray:
    """Return air with a bright box near one corner, without any symmetry."""
    hu = np.full(shape, -900, np.int16)
    hu[2:4, 3:6, 5:11] = 300
    return hu


def random_hu(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 900, shape).astype(np.int16)


def headers(paths: list[Path]) -> list[dict]:
    return [read_index_header(path)[0].to_json_dict() for path in paths]


@pytest.mark.parametrize("plane", ["head_first_supine", "head_first_prone", "feet_first_supine", "sagittal", "coronal"])
@pytest.mark.parametrize("oblique", [0.0, 1.0])
def test_voxels_are_at_the_positions_of_their_slices(tmp_path, plane, oblique):
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


def test_grid_and_voxels_equal_simpleitk_on_a_real_scan(shared_data):
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


def test_compressed_slices_without_uids_are_read(shared_data):
    image = read_volume(sorted((shared_data / "totalseg-example-ct-dicom").iterdir()))
    assert image.GetSize()[2] == 20
    values = sitk.GetArrayViewFromImage(image)
    assert values.min() < -900 < 500 < values.max()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_all_transfer_syntaxes_give_the_same_values(tmp_path, syntax):
    hu = random_hu((6, 20, 28))
    write_dicom_series(tmp_path, hu, Acquisition(shape=hu.shape).affine, patient_id="P", shuffle_files=True)
    transcode(tmp_path, syntax)
    assert np.array_equal(sitk.GetArrayFromImage(read_volume(list(tmp_path.iterdir()))), hu)


def test_compressed_real_slices_equal_the_uncompressed_values(tmp_path, shared_data):
    def volume(name: str) -> np.ndarray:
        folder = tmp_path / name
        folder.mkdir()
        for number in range(3):
            dataset = dcmread(shared_data / "wg04-ct-syntaxes" / name)
            dataset.ImagePositionPatient = [0, 0, 5 * number]
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
            dataset.save_as(folder / f"{number}")
        return sitk.GetArrayFromImage(read_volume(sorted(folder.iterdir())))

    plain = volume("CT2_RLE")
    assert plain.std() > 100
    for name in ("CT2_J2KR", "CT2_JLSL", "CT2_JPLL"):
        assert np.array_equal(volume(name), plain), name
    for name in ("CT2_J2KI", "CT2_JLSN"):  # lossy
        assert np.abs(volume(name) - plain).mean() < 25, name


def test_frames_of_one_file_are_slices(tmp_path):
    acquisition = Acquisition(shape=SHAPE, spacing=(2.5, 0.8, 0.7), plane="coronal")
    hu = corner_block(SHAPE)
    write_dicom_series(tmp_path / "plain", hu, acquisition.affine, patient_id="P", shuffle_files=True)
    write_multi_frame(tmp_path / "plain", tmp_path / "one")
    image, expected = (read_volume(sorted((tmp_path / name).iterdir())) for name in ("one", "plain"))
    assert np.array_equal(sitk.GetArrayFromImage(image), hu)
    for what in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(image, what)(), getattr(expected, what)(), atol=1e-5)


def test_each_frame_has_its_own_slope_and_intercept(tmp_path):
    acquisition = Acquisition(shape=(4, 20, 28))
    hu = random_hu(acquisition.shape)
    write_dicom_series(tmp_path / "plain", hu, acquisition.affine, patient_id="P")
    write_multi_frame(tmp_path / "plain", tmp_path / "one")

    def edit(dataset) -> None:
        dataset.PerFrameFunctionalGroupsSequence[2].PixelValueTransformationSequence[0].RescaleIntercept = -900
        dataset.PerFrameFunctionalGroupsSequence[2].PixelValueTransformationSequence[0].RescaleSlope = 2

    change(list((tmp_path / "one").iterdir()), edit)
    found = sitk.GetArrayFromImage(read_volume(list((tmp_path / "one").iterdir())))
    assert np.array_equal(found[[0, 1, 3]], hu[[0, 1, 3]])
    assert np.array_equal(found[2], (hu[2].astype(int) + 1024) * 2 - 900)


def test_real_frames_are_at_the_positions_of_their_functional_groups(shared_data):
    path = shared_data / "enhanced-ct-2frame" / "eCT_Supplemental.dcm"
    image = read_volume([path])
    positions = [
        group.PlanePositionSequence[0].ImagePositionPatient for group in dcmread(path).PerFrameFunctionalGroupsSequence
    ]
    ends = [image.TransformIndexToPhysicalPoint((0, 0, index)) for index in (0, 1)]
    np.testing.assert_allclose(sorted(ends, key=lambda p: p[2]), sorted(positions, key=lambda p: p[2]), atol=1e-4)
    verdict = check_series("CT", [read_metadata(path)])
    assert verdict.problem is None
    assert any("Rescale Type is US" in warning for warning in verdict.warnings)


def test_tilted_series_is_at_the_positions_of_its_slices(tmp_path):
    acquisition = Acquisition(shape=SHAPE, spacing=(2.5, 0.8, 0.7), gantry_tilt_degrees=18)
    hu = corner_block(SHAPE)
    write_dicom_series(tmp_path, hu, acquisition.affine, patient_id="P", shuffle_files=True)
    image = read_volume(list(tmp_path.iterdir()))
    for number, path in enumerate(sorted_slices(tmp_path)):
        position = [float(value) for value in dcmread(path).ImagePositionPatient]
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((0, 0, number)), position, atol=1e-3)
    index = image.TransformPhysicalPointToIndex((acquisition.affine @ [7, 4, 3, 1])[:3].tolist())
    assert index == (7, 4, 3)
    assert image[index] == 300


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_mask_of_a_tilted_series_is_written_with_its_geometry(tmp_path, suffix):
    acquisition = Acquisition(shape=SHAPE, spacing=(2.5, 0.8, 0.7), gantry_tilt_degrees=18)
    write_dicom_series(tmp_path / "dicom", corner_block(SHAPE), acquisition.affine, patient_id="P")
    mask = read_volume(list((tmp_path / "dicom").iterdir())) == 300
    write_mask(mask, tmp_path / f"mask{suffix}", True)
    found = LoadImage(image_only=True)(tmp_path / f"mask{suffix}")
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ found.affine.numpy(), acquisition.affine, atol=1e-4)
    assert np.array_equal(found.numpy().transpose(), sitk.GetArrayFromImage(mask))
    # ITK reads no sheared NIfTI, but must still find the voxels.
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / f"mask{suffix}")), found.numpy().transpose())


def test_missing_slice_does_not_move_the_others_and_positions_are_recorded(tmp_path):
    acquisition = Acquisition(shape=SHAPE, spacing=(2.5, 0.8, 0.7))
    hu = corner_block(SHAPE)
    write_dicom_series(tmp_path, hu, acquisition.affine, patient_id="P")
    sorted_slices(tmp_path)[5].unlink()
    image = read_volume(list(tmp_path.iterdir()))
    assert np.array_equal(sitk.GetArrayFromImage(image), np.delete(hu, 5, axis=0))
    positions = np.array(json.loads(image.GetMetaData("slice_positions")))
    expected = [[float(v) for v in dcmread(path).ImagePositionPatient] for path in sorted_slices(tmp_path)]
    np.testing.assert_allclose(positions, expected, atol=1e-4)
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((0, 0, 10)), expected[10], atol=1e-4)


def test_overlapping_slices_are_a_regular_stack(tmp_path):
    acquisition = Acquisition(shape=SHAPE, spacing=(1.25, 0.8, 0.7))
    write_dicom_series(tmp_path, corner_block(SHAPE), acquisition.affine, patient_id="P")
    change(list(tmp_path.iterdir()), lambda dataset: setattr(dataset, "SliceThickness", "2.5"))
    assert check_series("CT", headers(sorted(tmp_path.iterdir()))) == SeriesUsability()
    assert read_volume(list(tmp_path.iterdir())).GetSpacing()[2] == pytest.approx(1.25)


def test_small_differences_between_gaps_that_add_up_are_noted(tmp_path):
    grid = Acquisition(shape=(61, 8, 8), spacing=(1.0, 0.8, 0.7))
    write_dicom_series(tmp_path, np.zeros(grid.shape, np.int16), grid.affine, patient_id="P")
    first = grid.affine[2, 3]
    places = [first + place + 0.04 * max(place - 30, 0) for place in range(61)]  # gaps of 1.00 mm, then of 1.04 mm
    for path, place in zip(sorted_slices(tmp_path), places, strict=True):
        change([path], lambda one, z=place: one.ImagePositionPatient.__setitem__(2, round(z, 4)))
    grid_read = VoxelGrid.from_image(read_volume(list(tmp_path.iterdir())))
    np.testing.assert_allclose(grid_read.slice_positions[:, 2], places, atol=1e-3)
    (warning, *_) = check_series("CT", headers(sorted(tmp_path.iterdir()))).warnings
    assert "from 1.000 to 1.040 mm, which add up" in warning and "displaced by up to 0.6 mm" in warning


def test_slices_may_differ_in_slope_and_intercept(tmp_path):
    hu = random_hu((4, 20, 28))
    write_dicom_series(tmp_path, hu, Acquisition(shape=hu.shape).affine, patient_id="P")
    last = sorted_slices(tmp_path)[3]
    change([last], lambda dataset: dataset.update({"RescaleSlope": 0.5, "RescaleIntercept": -100}))
    found = sitk.GetArrayFromImage(read_volume(list(tmp_path.iterdir())))
    assert np.array_equal(found[:3], hu[:3])
    np.testing.assert_allclose(found[3], (hu[3] + 1024.0) / 2 - 100)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_image_file_is_read_on_its_own_grid(tmp_path, suffix):
    image = sitk.GetImageFromArray(random_hu((5, 6, 7)).astype(np.float32))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-12, 7, 30))
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, -1, 0))
    sitk.WriteImage(image, tmp_path / f"image{suffix}")
    found = read_file(tmp_path / f"image{suffix}")
    assert found.GetPixelID() == sitk.sitkInt16
    assert np.array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(image))
    for what in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(found, what)(), getattr(image, what)(), atol=1e-5)


def phantom_headers(tmp_path: Path, **acquisition) -> list[dict]:
    grid = Acquisition(shape=(12, 16, 16), spacing=(2.5, 1.0, 1.0), **acquisition)
    write_dicom_series(tmp_path, np.zeros(grid.shape, np.int16), grid.affine, patient_id="P")
    return headers(sorted(tmp_path.glob("*.dcm")))


def with_value(header: dict, tag: str, vr: str, *values) -> dict:
    return {**header, tag: {"vr": vr, "Value": list(values)}}


def test_regular_series_has_no_problem(tmp_path):
    assert check_series("CT", phantom_headers(tmp_path)) == SeriesUsability()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h: h[:2], "2 slice(s)"),
        (lambda h: h[:4] + h[8:], "gaps from 2.50 to 12.50 mm, most of them 2.50 mm, the largest between the slices"),
        (lambda h: h[:1] + h[5:6] + h[6:], "gaps of up to 10 mm are interpolated"),
        (lambda h: [*h, h[0]], "several different slices at the same position"),
        (lambda h: [with_value(h[0], "00280010", "US", 8), *h[1:]], "different image heights: 16 (11 slices), 8 (1"),
        (lambda h: [with_value(h[0], "00080008", "CS", "ORIGINAL", "PRIMARY", "LOCALIZER"), *h], "scout"),
        (lambda h: [with_value(x, "00080008", "CS", "DERIVED", "SECONDARY", "MPR") for x in h], "from another series"),
        (lambda h: [{k: v for k, v in h[0].items() if k != "00200032"}, *h[1:]], "no Image Position"),
        (lambda h: [with_value(x, "00080016", "UI", "1.2.840.10008.5.1.4.1.1.7") for x in h], "Secondary Capture"),
        (lambda h: [with_value(x, "00281053", "DS", 0) for x in h], "Rescale Slope is 0"),
    ],
)
def test_unusable_series_is_refused_with_the_reason(tmp_path, change, reason):
    assert reason in check_series("CT", change(phantom_headers(tmp_path))).problem


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (lambda h: h[:2] + h[3:], "1 uneven gap(s) between slices, such as 5.00 mm instead of 2.50 mm"),
        (lambda h: h[:5], "only 5 slices"),
        (lambda h: [with_value(x, "00180050", "DS", 8) for x in h], "slices of 8.0 mm"),
        (lambda h: [with_value(x, "00180050", "DS", 8) for x in h], "the shipped model marked 4 of 10 slices"),
        (lambda h: [with_value(x, "00181210", "SH", "B70f") for x in h], "31.8 ml with B70f and 26.8 ml with the soft"),
        (lambda h: [with_value(x, "00181210", "SH", "LUNG") for x in h], "sharp reconstruction kernel (LUNG)"),
        (lambda h: [with_value(x, "00281054", "LO", "US") for x in h], "Rescale Type is US, not HU"),
        (lambda h: [with_value(x, "00281052", "DS", 317) for x in h], "Intercept 317 are unusual"),
        (lambda h: [with_value(x, "00180010", "LO", "IV") for x in h], "contrast medium (IV)"),
    ],
)
def test_unusual_series_has_a_warning(tmp_path, change, warning):
    verdict = check_series("CT", change(phantom_headers(tmp_path)))
    assert verdict.problem is None
    assert [warning in text for text in verdict.warnings] == [True]


@pytest.mark.parametrize(
    "change",
    [
        lambda h: [{k: v for k, v in x.items() if k != "00281054"} for x in h],  # Rescale Type: HU if missing
        lambda h: [with_value(x, "00181210", "SH", "Br38f", "3") for x in h],
        lambda h: [with_value(x, "00181210", "SH", "STANDARD") for x in h],
        lambda h: [with_value(x, "00180050", "DS", 3) for x in h],
    ],
)
def test_usual_series_has_no_warning(tmp_path, change):
    assert check_series("CT", change(phantom_headers(tmp_path))) == SeriesUsability()


def test_other_modalities_are_refused_and_tilt_is_a_warning(tmp_path):
    assert "modality PT" in check_series("PT", []).problem
    verdict = check_series("CT", phantom_headers(tmp_path, gantry_tilt_degrees=12))
    assert verdict.problem is None
    assert "gantry tilt of 12.0°" in verdict.warnings[0]


def test_uneven_real_series_is_refused_with_its_gaps(shared_data):
    found = headers(sorted((shared_data / "dcm_qa_ct-ge-tilt").glob("*.dcm")))
    problem = check_series("CT", found).problem
    assert "1.08 to 7.00 mm" in problem
    assert "displaced by up to 22.8 mm" in problem


def test_even_part_of_a_real_tilted_series_is_at_the_positions_of_its_slices(shared_data):
    paths = sorted_slices(shared_data / "dcm_qa_ct-ge-tilt")[:14]
    image = read_volume(paths)
    for index, path in enumerate(paths):
        dataset = dcmread(path)
        row, column = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
        corner = np.array(dataset.ImagePositionPatient, float) + 300 * dataset.PixelSpacing[1] * row
        corner += 200 * dataset.PixelSpacing[0] * column
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((300, 200, index)), corner, atol=0.05)
    assert SliceStack.from_headers(headers(paths)).tilt_degrees == pytest.approx(18.5, abs=0.1)


def test_misplaced_slice_is_an_error_not_a_gap(tmp_path):
    phantom_headers(tmp_path)
    change(sorted_slices(tmp_path)[2:3], lambda dataset: setattr(dataset, "ImagePositionPatient", [0, 0, 999]))
    with pytest.raises(ValueError, match="not evenly spaced"):
        read_volume(sorted(tmp_path.glob("*.dcm")))
