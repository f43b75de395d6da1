"""HU values do not depend on display and padding attributes or number formats; cases from public bug reports."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import Dataset, dcmread

from lib.datastore.opening import open_datastore
from lib.datastore.series_usability import check_series
from lib.datastore.volume import WARNINGS, read_volume, warnings_of, write_volume
from lib.dicomweb.dicom_file import read_metadata
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.matching import values_of
from lib.exports.source_images import SourceImages
from lib.phantoms import Acquisition, write_dicom_series
from lib.settings import Settings
from tests.support.dicom_variants import (
    SYNTAXES,
    change,
    set_text,
    sorted_slices,
    transcode,
    use_decimal_commas,
    write_multi_frame,
)

GRID = Acquisition(shape=(6, 20, 28), spacing=(2.5, 0.8, 0.7))
HU = np.random.default_rng(0).integers(-1000, 900, GRID.shape).astype(np.int16)


def write(folder: Path, hu: np.ndarray = HU, **options) -> list[Path]:
    write_dicom_series(folder, hu, GRID.affine, patient_id="P", shuffle_files=True, **options)
    return sorted_slices(folder)


def voxels(folder: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(read_volume(list(folder.iterdir())))


def as_monochrome1(dataset: Dataset) -> None:
    dataset.PhotometricInterpretation = "MONOCHROME1"


# --- R3


@pytest.mark.parametrize("syntax", [None, *SYNTAXES])
def test_r3_photometric_interpretation_does_not_change_hu(tmp_path, syntax):
    write(tmp_path)
    if syntax:
        transcode(tmp_path, syntax)
    change(list(tmp_path.iterdir()), as_monochrome1)
    assert np.array_equal(voxels(tmp_path), HU)


def test_r3_photometric_interpretation_does_not_change_hu_of_frames(tmp_path):
    write(tmp_path / "plain")
    write_multi_frame(tmp_path / "plain", tmp_path / "one")
    change(list((tmp_path / "one").iterdir()), as_monochrome1)
    assert np.array_equal(voxels(tmp_path / "one"), voxels(tmp_path / "plain"))
    assert set(np.unique(voxels(tmp_path / "one"))) == set(np.unique(HU))


@pytest.mark.parametrize("name", ["CT2_J2KR", "CT2_J2KI", "CT2_JLSL", "CT2_JLSN", "CT2_JPLL", "CT2_RLE"])
def test_r3_photometric_interpretation_does_not_change_hu_of_real_compressed_slices(tmp_path, shared_data, name):
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        (tmp_path / kind).mkdir()
        for number in range(2):
            dataset = dcmread(shared_data / "wg04-ct-syntaxes" / name)
            dataset.ImagePositionPatient = [0, 0, 5 * number]
            dataset.PhotometricInterpretation = kind
            dataset.save_as(tmp_path / kind / f"{number}")
    found = voxels(tmp_path / "MONOCHROME1")
    assert np.array_equal(found, voxels(tmp_path / "MONOCHROME2"))
    reader = sitk.ReadImage(str(tmp_path / "MONOCHROME2" / "0"), sitk.sitkFloat32)
    assert np.array_equal(found[:1], sitk.GetArrayFromImage(reader))


def test_r3_reported_monochrome1_series_equals_its_monochrome2_twin(shared_data):
    studies = shared_data / "reports" / "monochrome1" / "studies"
    first, second = (voxels(studies / name) for name in ("mono1", "mono2"))
    assert np.array_equal(first, second)
    slices = [dcmread(path) for path in sorted_slices(studies / "mono1")]
    assert np.array_equal(
        first, [one.pixel_array * int(one.RescaleSlope) + int(one.RescaleIntercept) for one in slices]
    )


# --- R6


def test_decimal_commas_are_read_everywhere(tmp_path):
    """R6: usability, grid, voxels, metadata for OHIF and references of exports."""
    write(tmp_path / "points")
    write(tmp_path / "commas")
    use_decimal_commas(tmp_path / "commas")
    assert b",0000" in next((tmp_path / "commas").iterdir()).read_bytes()
    found, expected = (read_volume(sorted((tmp_path / name).iterdir())) for name in ("commas", "points"))
    assert np.array_equal(sitk.GetArrayFromImage(found), HU)
    for what in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(found, what)(), getattr(expected, what)(), atol=1e-4)
    client = FolderClient(tmp_path / "commas", tmp_path / "segs", tmp_path / "index.sqlite")
    client.scan()
    (header,) = client.search_for_series()
    study, series = values_of(header, "0020000D")[0], values_of(header, "0020000E")[0]
    verdict = check_series("CT", client.search_for_instances(study, series))
    assert verdict.problem is None
    assert [warning[:13] for warning in verdict.warnings] == ["only 6 slices"]
    metadata = client.retrieve_series_metadata(study, series)
    for one in metadata:
        assert one["00280030"]["Value"] == [0.8, 0.7]
        assert all(isinstance(value, float) for value in one["00200032"]["Value"])
        assert one["00281052"]["Value"] == [-1024]
    sources = SourceImages.of(metadata)
    np.testing.assert_allclose(sources.stack.positions[0], expected.GetOrigin(), atol=1e-4)
    assert float(sources.headers[0].ImagePositionPatient[2]) == pytest.approx(sources.stack.positions[0][2])


def test_decimal_commas_in_functional_groups_are_read(tmp_path):
    """R6: multi-frame, also with Implicit VR."""
    write(tmp_path / "plain")
    write_multi_frame(tmp_path / "plain", tmp_path / "one")
    (path,) = (tmp_path / "one").iterdir()
    content = path.read_bytes()
    position = dcmread(path).PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    text = str(position[0]).encode()
    assert b"." in text
    path.write_bytes(content.replace(text, text.replace(b".", b",")))
    assert np.array_equal(voxels(tmp_path / "one"), voxels(tmp_path / "plain"))


@pytest.mark.parametrize(
    ("keyword", "text", "reason"),
    [
        ("ImagePositionPatient", "12;5\\0\\0", "Image Position (Patient) is not a number: '12;5'"),
        ("PixelSpacing", "0.8mm\\0.7mm", "Pixel Spacing is not a number: '0.8mm'"),
        ("RescaleSlope", "one", "Rescale Slope is not a number: 'one'"),
        ("RescaleIntercept", "-1,024,0", "Rescale Intercept is not a number: '-1,024,0'"),
    ],
)
def test_invalid_number_is_reported_with_its_element(tmp_path, keyword, text, reason):
    """R6: never reported as missing."""
    paths = write(tmp_path / "dicom")
    set_text(paths if keyword == "PixelSpacing" else paths[:1], keyword, text)
    client = FolderClient(tmp_path / "dicom", tmp_path / "segs", tmp_path / "index.sqlite")
    client.scan()
    assert not client.index.problems()
    (header,) = client.search_for_series()
    instances = client.search_for_instances(values_of(header, "0020000D")[0], values_of(header, "0020000E")[0])
    assert len(instances) == len(paths)
    assert check_series("CT", instances).problem == reason


def test_r6_reported_series_with_decimal_commas_is_read(shared_data):
    folder = shared_data / "reports" / "decimal-comma" / "studies"
    image = read_volume(sorted(folder.iterdir()))
    assert image.GetSize() == (64, 64, 12)
    assert image.GetSpacing()[:2] == pytest.approx((5.625, 5.625))
    assert image.GetOrigin()[:2] == pytest.approx((-166, -171.7))
    first = dcmread(sorted_slices(folder)[0])
    assert np.array_equal(sitk.GetArrayFromImage(image)[0], first.pixel_array.astype(int) - 1024)


# --- R10


def test_integers_with_decimals_are_kept_without_a_warning(tmp_path):
    """R10: neither rounded nor a warning per slice."""
    paths = write(tmp_path / "dicom")
    for keyword, text in {"Exposure": "14.5", "XRayTubeCurrent": "199,5", "InstanceNumber": "3.0"}.items():
        set_text(paths, keyword, text)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client = FolderClient(tmp_path / "dicom", tmp_path / "segs", tmp_path / "index.sqlite")
        client.scan()
        (header,) = client.search_for_series()
        study, series = values_of(header, "0020000D")[0], values_of(header, "0020000E")[0]
        metadata = client.retrieve_series_metadata(study, series)
        assert np.array_equal(voxels(tmp_path / "dicom"), HU)
        SourceImages.of(metadata)
    assert [str(one.message) for one in caught if "torch" not in str(one.filename)] == []
    for one in metadata:
        assert one["00181152"]["Value"] == [14.5]
        assert one["00181151"]["Value"] == [199.5]
        assert one["00200013"]["Value"] == [3]
        assert isinstance(one["00200013"]["Value"][0], int)


def test_r10_reported_series_of_integers_with_decimals_has_no_warning(tmp_path, shared_data):
    folder = shared_data / "reports" / "is-with-decimals" / "studies"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in sorted(folder.iterdir()):
            assert read_metadata(path)["00181152"]["Value"] == [14.5]


# --- R12


def padded(folder: Path, stored: int, *, bits: int = 16, padding: int | None = None, signed: bool = False) -> None:
    """Write a series with a corner of this stored value in each slice."""

    def edit(dataset: Dataset) -> None:
        pixels = np.frombuffer(dataset.PixelData, "<u2").reshape(GRID.shape[1:]).copy()
        pixels[:3, :4] = stored
        dataset.PixelData = pixels.tobytes()
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, int(signed)
        if padding is not None:
            dataset.add_new("PixelPaddingValue", "US", padding)

    change(write(folder), edit)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("syntax", [None, *SYNTAXES])
def test_padding_read_as_unsigned_becomes_air(tmp_path, bits, syntax):
    """R12: -2000 stored as 63536 is not metal of 62,512 HU; a warning reports the guess."""
    padded(tmp_path / "dicom", 63536, bits=bits)
    if syntax:
        transcode(tmp_path / "dicom", syntax)
    image = read_volume(list((tmp_path / "dicom").iterdir()))
    found = sitk.GetArrayFromImage(image)
    assert (found[:, :3, :4] == -3024).all()
    expected = HU.copy()
    expected[:, :3, :4] = -3024
    assert np.array_equal(found, expected)
    write_volume(image, tmp_path / "image.nrrd")
    (warning,) = warnings_of(tmp_path / "image.nrrd")
    assert warning.startswith("72 pixels above 32767 HU")


def test_guessed_padding_has_a_warning_in_the_image_info(tmp_path):
    """R12: also after a restart, when the volume is cached."""
    padded(tmp_path / "dicom", 63536)
    settings = Settings.from_conf(str(tmp_path / "dicom"), {"workspace": str(tmp_path / "workspace")})
    for _ in range(2):
        datastore = open_datastore(settings)
        datastore.client.scan()
        (image_id,) = datastore.list_images()
        assert not any("32767" in warning for warning in datastore.get_image_info(image_id)["warnings"])
        datastore.get_image_uri(image_id)
        assert any("32767" in warning for warning in datastore.get_image_info(image_id)["warnings"])


def test_declared_padding_becomes_air_without_a_warning(tmp_path):
    """R12: Pixel Padding Value."""
    padded(tmp_path, 63536, padding=63536)
    image = read_volume(list(tmp_path.iterdir()))
    assert (sitk.GetArrayFromImage(image)[:, :3, :4] == -1024).all()
    assert not image.HasMetaDataKey(WARNINGS)


def test_declared_padding_range_becomes_air(tmp_path):
    """R12: Pixel Padding Range Limit."""
    padded(tmp_path, 30000, padding=29000)
    change(list(tmp_path.iterdir()), lambda dataset: dataset.add_new("PixelPaddingRangeLimit", "US", 31000))
    assert (voxels(tmp_path)[:, :3, :4] == -1024).all()


def test_declared_padding_within_tissue_is_ignored(tmp_path):
    """R12: a wrong Pixel Padding Value must not make holes in a patient."""
    padded(tmp_path, 1064, padding=1064)
    assert (voxels(tmp_path)[:, :3, :4] == 40).all()


def test_metal_on_the_extended_scale_is_kept(tmp_path):
    """R12: 25,000 HU is the highest value that scanners write for implants."""
    padded(tmp_path, 33192)
    change(list(tmp_path.iterdir()), lambda dataset: setattr(dataset, "RescaleIntercept", -8192))
    image = read_volume(list(tmp_path.iterdir()))
    assert (sitk.GetArrayFromImage(image)[:, :3, :4] == 25000).all()
    assert not image.HasMetaDataKey(WARNINGS)


@pytest.mark.parametrize("stored", [0x0830, 0xF830])
def test_signed_12_bit_values_with_and_without_sign_extension(tmp_path, stored):
    """R12: both encodings of -2000."""
    padded(tmp_path, stored, bits=12, signed=True)
    assert (voxels(tmp_path)[:, :3, :4] == -3024).all()
