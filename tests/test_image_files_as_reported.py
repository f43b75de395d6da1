"""Image files and annotation tables from public bug reports."""

import codecs
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from lib.datastore.label_reader import read_label
from lib.datastore.series_usability import check_image_file
from lib.datastore.volume import read_file, write_volume
from lib.dicomweb.dicom_file import NotUsableError
from lib.dicomweb.image_file import read_image_file
from lib.dicomweb.image_header import check_before_reading
from lib.public_sets.luna16 import read_nodules
from lib.public_sets.text_tables import read_text
from tests.support.imports import labelled_cases, write_msd

AFFINE = np.diag([-0.7, -0.8, 2.5, 1.0])
SHAPE = (24, 20, 12)


def write_nifti(path: Path, voxels: np.ndarray, slope: float, intercept: float) -> Path:
    """Write a NIfTI with the given stored values and scaling."""
    image = nibabel.Nifti1Image(voxels, AFFINE)
    nibabel.save(image, path)
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([slope, intercept], "<f4").tobytes()
    path.write_bytes(content)
    return path


def hu() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2000, SHAPE).astype(np.int16)


def test_r5_ct_stored_with_an_intercept_is_usable(tmp_path):
    """R5: as written by dcm2niix; the header was checked against the data type after scaling."""
    path = write_nifti(tmp_path / "ct.nii", hu(), 1, -1024)
    assert check_image_file(read_image_file(path)).problem is None
    assert np.array_equal(sitk.GetArrayFromImage(read_file(path)).T, hu() - 1024)


def test_r5_label_stored_with_a_slope_is_read(tmp_path):
    """R5: uint8 values 0 and 255 with a slope of 1/255."""
    mask = (hu() > 1800).astype(np.uint8)
    path = write_nifti(tmp_path / "label.nii", 255 * mask, 1 / 255, 0)
    write_volume(read_file(write_nifti(tmp_path / "ct.nii", hu(), 1, -1024)), tmp_path / "ct.nrrd")
    label = read_label(path, tmp_path / "ct.nrrd", {"lung_tumor": 1})
    assert np.array_equal(sitk.GetArrayFromImage(label).T, mask)


def test_r5_truncated_scaled_file_is_refused(tmp_path):
    """R5: half of the voxels are missing."""
    path = write_nifti(tmp_path / "ct.nii", hu(), 1, -1024)
    path.write_bytes(path.read_bytes()[: 352 + hu().nbytes // 2])
    with pytest.raises(NotUsableError, match=f"claims {hu().nbytes} bytes of voxels, more than its file can hold"):
        check_before_reading(path, alone=True)


def test_r5_reported_files_are_usable(shared_data, tmp_path):
    folder = shared_data / "reports/nifti-scl-inter"
    image = read_image_file(folder / "studies/ct.nii")
    hounsfield = nibabel.load(image.path).get_fdata()
    assert (image.lowest, image.highest) == (hounsfield.min(), hounsfield.max()) and image.lowest == -1024
    write_volume(read_file(folder / "studies/ct.nii"), tmp_path / "ct.nrrd")
    label = read_label(folder / "label.nii", tmp_path / "ct.nrrd", {"lung_tumor": 1})
    assert set(np.unique(sitk.GetArrayViewFromImage(label))) == {0, 1}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_r9_qform_that_differs_from_sform_gives_a_warning(suffix, tmp_path):
    """R9: the sform is shifted by 166 mm against the qform and flips left and right."""
    moved = np.diag([0.7, -0.8, 2.5, 1.0])
    moved[:3, 3] = (-166, 0, 0)
    image = nibabel.Nifti1Image(hu() - 1024, AFFINE)
    image.set_qform(AFFINE, code=1)
    image.set_sform(moved, code=2)
    nibabel.save(image, tmp_path / f"ct{suffix}")
    itk = sitk.ReadImage(str(tmp_path / f"ct{suffix}"))
    taken = "qform" if np.allclose(itk.GetOrigin(), 0, atol=1e-3) else "sform"
    (warning,) = read_image_file(tmp_path / f"ct{suffix}").warnings
    assert f"the {taken} is used, as by 3D Slicer" in warning and "differ by up to 166.0 mm" in warning
    assert warning in check_image_file(read_image_file(tmp_path / f"ct{suffix}")).warnings

    image.set_sform(AFFINE, code=2)
    nibabel.save(image, tmp_path / f"same{suffix}")
    assert not read_image_file(tmp_path / f"same{suffix}").warnings


def test_r9_reported_file_gives_a_warning(shared_data):
    """R9: ITK uses the qform of the reported file."""
    (warning,) = read_image_file(shared_data / "reports/nifti-qform-sform/studies/ct.nii.gz").warnings
    assert "the qform is used, as by 3D Slicer" in warning


TABLE = "seriesuid,coordX,coordY,coordZ,diameter_mm\r\n1.2.3,-50.5,20.0,-185.0,20.25\r\n"
BY_COUNTRY = TABLE.replace(",", ";").replace(".5", ",5").replace("20.0", "20,0").replace("20.25", "20,25")


@pytest.mark.parametrize(
    "content",
    [
        TABLE.encode(),
        TABLE.encode("utf-8-sig"),
        TABLE.encode("utf-16"),
        codecs.BOM_UTF16_BE + TABLE.encode("utf-16-be"),
        TABLE.encode("utf-16-le"),
        TABLE.replace(",", "\t").encode("utf-16"),
        BY_COUNTRY.encode("utf-8-sig"),
        f"{TABLE[:-2]}\r\n".replace("diameter_mm\r", "diameter_mm,Größe\r").encode("latin-1"),
    ],
    ids=["utf-8", "utf-8-bom", "utf-16", "utf-16-be", "utf-16-no-bom", "excel-unicode-text", "semicolons", "latin-1"],
)
def test_r8_table_is_read_in_any_encoding(content, tmp_path):
    path = tmp_path / "annotations.csv"
    path.write_bytes(content)
    assert read_nodules(path) == {"1.2.3": [(-50.5, 20.0, -185.0, 20.25)]}


def test_r8_reported_table_is_read(shared_data, run_import, tmp_path):
    said = run_import("luna16", shared_data / "reports/luna16-utf16/LUNA16", "--workspace", tmp_path / "w")
    assert "1 labelled; 0 failed" in said


def test_r8_byte_order_mark_before_json_is_accepted(run_import, tmp_path):
    """R8: a dataset.json with a byte order mark was reported as damaged."""
    source = write_msd(tmp_path / "Task06_Lung", count=1)
    path = source / "dataset.json"
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_text(read_text(path), encoding=encoding)
        assert "0 failed" in run_import("msd", source, "--workspace", tmp_path / "w")
    assert list(labelled_cases(source, tmp_path / "w")) == ["lung_001"]
