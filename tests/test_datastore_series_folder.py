"""Volumes of single DICOM series, for training and evaluation."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread

from lib.datastore.opening import open_datastore
from lib.datastore.series_folder import largest_series_volume
from lib.errors import UserError
from lib.phantoms import Acquisition, write_dicom_series
from lib.settings import Settings
from lib.training.box_annotations import slices_with_boxes
from tests.support.dicom_variants import write_multi_frame

GRID = Acquisition(shape=(6, 20, 28), spacing=(2.5, 0.8, 0.7), gantry_tilt_degrees=10)


def write_series(folder: Path, multi_frame: bool) -> np.ndarray:
    hu = np.random.default_rng(0).integers(-1000, 400, GRID.shape).astype(np.int16)
    plain = folder.with_name("plain") if multi_frame else folder
    write_dicom_series(plain, hu, GRID.affine, patient_id="P_1", shuffle_files=True)
    if multi_frame:
        write_multi_frame(plain, folder)
    return hu


@pytest.mark.parametrize("multi_frame", [False, True])
def test_volume_equals_the_one_of_the_server(multi_frame, tmp_path):
    """C2: commands stacked slices themselves and took the patient from the file name up to an underscore."""
    hu = write_series(tmp_path / "a_b" / "CT", multi_frame)
    volume = largest_series_volume(tmp_path / "a_b" / "CT", tmp_path / "cache")
    assert volume.patient_id == "P_1"
    settings = Settings.from_conf(str(tmp_path / "a_b" / "CT"), {"workspace": str(tmp_path / "server")})
    datastore = open_datastore(settings)
    datastore.client.scan()
    (image_id,) = datastore.list_images()
    assert volume.path.read_bytes() == Path(datastore.get_image_uri(image_id)).read_bytes()
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(volume.path)), hu)


def test_slices_are_identified_by_sop_instance_uid(tmp_path):
    write_series(tmp_path / "CT", multi_frame=False)
    headers = [dcmread(path, stop_before_pixels=True) for path in (tmp_path / "CT").iterdir()]
    headers.sort(key=lambda header: float(header.ImagePositionPatient[2]))
    volume = largest_series_volume(tmp_path / "CT", tmp_path / "cache")
    assert volume.sop_uids == tuple(header.SOPInstanceUID for header in headers)


def test_volume_is_rebuilt_only_when_files_change(tmp_path):
    write_series(tmp_path / "CT", multi_frame=False)
    first = largest_series_volume(tmp_path / "CT", tmp_path / "cache").path
    made = first.stat().st_mtime_ns
    assert largest_series_volume(tmp_path / "CT", tmp_path / "cache").path == first
    assert first.stat().st_mtime_ns == made
    last = max((tmp_path / "CT").iterdir(), key=lambda path: float(dcmread(path).ImagePositionPatient[2]))
    last.unlink()
    second = largest_series_volume(tmp_path / "CT", tmp_path / "cache").path
    assert second != first and sitk.ReadImage(second).GetDepth() == 5


def test_real_series_and_their_annotated_slices(tmp_path, shared_data):
    """C2: compressed slices without UIDs, and the annotated slices of another data set."""
    volume = largest_series_volume(shared_data / "totalseg-example-ct-dicom", tmp_path)
    assert sitk.ReadImage(str(volume.path)).GetSize()[2] == 20 and volume.patient_id == ""
    set_of_dx = shared_data / "lung-pet-ct-dx-a0002"
    series = next(path for path in set_of_dx.iterdir() if "B70f" in path.name)
    volume = largest_series_volume(series, tmp_path)
    annotated = {xml.stem for xml in (set_of_dx / "Annotation").glob("*.xml")}
    headers = [dcmread(path, stop_before_pixels=True) for path in series.iterdir()]
    headers.sort(key=lambda header: float(header.ImagePositionPatient[2]))
    expected = {z + step for z, one in enumerate(headers) if one.SOPInstanceUID in annotated for step in (-1, 0, 1)}
    assert slices_with_boxes(series, volume.sop_uids) == expected and expected
    assert volume.patient_id == headers[0].PatientID


def test_rejects_an_unusable_series_with_the_reason(tmp_path):
    """C2: GDCM stacked slices that the server rejects."""
    write_dicom_series(tmp_path / "CT", np.zeros((2, 8, 8), np.int16), np.diag([1.0, 1, 2, 1]), patient_id="P")
    with pytest.raises(UserError, match=r"CT contains neither volumes .* at least 3 are needed"):
        largest_series_volume(tmp_path / "CT", tmp_path / "cache")


def test_nothing_is_written_into_the_dicom_folder(tmp_path):
    write_series(tmp_path / "CT", multi_frame=False)
    with pytest.raises(UserError, match="never written to"):
        largest_series_volume(tmp_path / "CT", tmp_path / "CT" / "cache")
    assert not (tmp_path / "CT" / "cache").exists()
