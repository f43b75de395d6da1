"""The catalogue of a DICOM folder: usable series, rejected series with reasons, and warnings."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from lib.cli.doctor_studies import check_studies
from lib.datastore.catalog import Series, SeriesCatalog
from lib.dicomweb.folder_client import FolderClient
from lib.phantoms import Acquisition, write_dicom_series
from tests.support.dicom_variants import change, sorted_slices, write_multi_frame

GRID = Acquisition(shape=(12, 16, 24), spacing=(2.5, 1.0, 1.0))
TILTED = Acquisition(shape=(12, 16, 24), spacing=(2.5, 1.0, 1.0), gantry_tilt_degrees=10)


def write(folder: Path, patient_id: str, acquisition: Acquisition = GRID, **options) -> str:
    hu = np.random.default_rng(0).integers(-1000, 400, acquisition.shape).astype(np.int16)
    return write_dicom_series(folder, hu, acquisition.affine, patient_id=patient_id, **options)


@pytest.fixture
def catalog(tmp_path) -> Callable[[], dict[str, Series]]:
    """Return ``catalog()``, which scans the folder ``dicom`` and returns its series by PatientID."""
    (tmp_path / "dicom").mkdir()
    client = FolderClient(tmp_path / "dicom", tmp_path / "segs", tmp_path / "index.sqlite")

    def scan() -> dict[str, Series]:
        client.scan()
        found = SeriesCatalog(client)
        found.refresh()
        return {series.value("PatientID"): series for series in found.all()}

    return scan


def test_rejects_a_series_uid_with_path_traversal(catalog, tmp_path):
    write(tmp_path / "dicom" / "hostile", "HOSTILE")
    change(sorted_slices(tmp_path / "dicom" / "hostile"), lambda d: setattr(d, "SeriesInstanceUID", "../../outside"))
    write(tmp_path / "dicom" / "good", "GOOD")
    found = catalog()
    assert "Series Instance UID '../../outside' is invalid" in found["HOSTILE"].problem
    assert found["GOOD"].problem is None


def test_annotations_are_not_counted_as_rejected_series(catalog, tmp_path):
    for modality in ("SEG", "RTSTRUCT", "PT"):
        write(tmp_path / "dicom" / modality, modality)
        change(sorted_slices(tmp_path / "dicom" / modality), lambda d, kind=modality: setattr(d, "Modality", kind))
    assert {patient_id: series.left_out for patient_id, series in catalog().items()} == {
        "SEG": False,
        "RTSTRUCT": False,
        "PT": True,
    }


def test_unusable_series_are_rejected_with_a_reason_and_do_not_affect_others(catalog, tmp_path):
    folder = tmp_path / "dicom"
    everything = folder / "everything"  # all in one folder, like PACS exports
    kinds = {
        "SCOUT": lambda d: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        "CAPTURE": lambda d: setattr(d, "SOPClassUID", SecondaryCaptureImageStorage),
        "MPR": lambda d: setattr(d, "ImageType", ["DERIVED", "SECONDARY", "MPR"]),
        "PET": lambda d: setattr(d, "Modality", "PT"),
        "DOSE": lambda d: setattr(d, "Modality", "SR"),
        "SIZES": None,
        "FEW": None,
    }
    for number, (patient_id, edit) in enumerate(kinds.items(), start=1):
        write(tmp_path / patient_id, patient_id)
        paths = sorted_slices(tmp_path / patient_id)
        if edit:
            change(paths, edit)
        elif patient_id == "FEW":
            for path in paths[2:]:
                path.unlink()
        else:
            change(paths[:3], crop)
        everything.mkdir(parents=True, exist_ok=True)
        for path in (tmp_path / patient_id).iterdir():
            path.rename(everything / f"{number}-{path.stem}")
    write(everything, "GOOD")
    found = catalog()
    assert {patient_id for patient_id, series in found.items() if series.problem is None} == {"GOOD"}
    reasons = {
        "SCOUT": "a localizer (scout)",
        "CAPTURE": "not CT images, but Secondary Capture",
        "MPR": "Image Type MPR",
        "PET": "modality PT",
        "DOSE": "modality SR",
        "SIZES": "different image heights: 16 (9 slices), 8 (3 slices)",
        "FEW": "2 slice(s); at least 3",
    }
    for patient_id, reason in reasons.items():
        assert reason in found[patient_id].problem, patient_id


def crop(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[: 8 * dataset.Columns * 2]
    dataset.Rows = 8


def test_reconstructions_of_one_scan_are_separate_images(tmp_path):
    for number, kernel in enumerate(("B40f", "B70f"), start=1):
        write(tmp_path / "dicom" / kernel, "P", series_number=number, series_description=kernel)
    client = FolderClient(tmp_path / "dicom", tmp_path / "segs", tmp_path / "index.sqlite")
    client.scan()
    found = SeriesCatalog(client)
    found.refresh()
    first, second = (found.get(uid) for uid in found.images())
    assert first.study_uid == second.study_uid
    assert {first.value("SeriesDescription"), second.value("SeriesDescription")} == {"B40f", "B70f"}
    studies = found.studies_of_images()
    assert studies == dict.fromkeys(found.images(), first.study_uid)
    assert found.studies_of_images() is studies, "computed once"
    found.put(replace(second, problem="it was withdrawn"))
    assert found.studies_of_images() == {first.uid: first.study_uid}


def test_real_reconstructions_with_thick_slices_have_a_warning(tmp_path, shared_data):
    client = FolderClient(shared_data / "lung-pet-ct-dx-a0002", tmp_path / "segs", tmp_path / "index.sqlite")
    client.scan()
    found = SeriesCatalog(client)
    found.refresh()
    assert len(found.images()) == 2
    for series in found.all():
        assert series.instance_count == 30
        assert any("slices of 8.0 mm" in warning for warning in series.warnings)


def test_usable_series_have_warnings(catalog, tmp_path):
    folder = tmp_path / "dicom"
    write(folder / "tilted", "TILTED", TILTED)
    write(folder / "gap", "GAP")
    sorted_slices(folder / "gap")[5].unlink()
    write(tmp_path / "plain", "FRAMES")
    write_multi_frame(tmp_path / "plain", folder / "frames")
    write(folder / "plain", "PLAIN", shuffle_files=True, descending_instances=True)
    found = catalog()
    assert [series.problem for series in found.values()] == [None] * 4
    assert not found["PLAIN"].warnings
    assert not found["FRAMES"].warnings
    assert found["TILTED"].warnings[0].startswith("gantry tilt of 10.0°")
    assert found["GAP"].warnings[0].startswith("1 uneven gap(s)")


def test_image_files_are_images_and_masks_are_not(tmp_path):
    folder = tmp_path / "dicom"
    write(folder / "dicom", "DICOM")
    scan = np.random.default_rng(0).integers(-1000, 400, (10, 12, 14)).astype(np.int16)
    for name, values in {
        "scan": scan,
        "flat": scan[:2],
        "mask": np.eye(12, dtype=np.int16)[None].repeat(10, 0),
        "scaled": np.random.default_rng(0).random((10, 12, 14)).astype(np.float32),
        "colour": np.zeros((10, 12, 14, 3), np.uint8),
        "slice": scan[:1],
        "huge": scan,
    }.items():
        image = sitk.GetImageFromArray(values, isVector=values.ndim == 4)
        if name == "huge":
            image.SetSpacing((1e6, 1, 1))
        sitk.WriteImage(image, folder / f"{name}.nii.gz")
    client = FolderClient(folder, tmp_path / "segs", tmp_path / "index.sqlite")
    client.scan()
    found = SeriesCatalog(client)
    found.refresh()
    by_name = {series.value("PatientID"): series for series in found.all()}
    assert by_name.keys() == {"DICOM", "scan", "flat", "huge"}
    assert by_name["scan"].problem is None
    assert "OHIF cannot show it" in by_name["scan"].warnings[0]
    assert "2 slice(s)" in by_name["flat"].problem
    assert by_name["huge"].problem == "voxels of 1e+06 × 1 × 1 mm; for a chest CT they must be from 0.1 to 20 mm"
    problems = {path.name.split(".")[0]: reason for path, reason in client.index.problems()}
    assert problems.keys() == {"mask", "scaled", "colour", "slice"}
    assert "mask" in problems["mask"]
    assert "not HU" in problems["scaled"]


def test_doctor_reports_every_series_and_file(tmp_path, capsys):
    folder = tmp_path / "dicom"
    write(folder / "tilted", "TILTED", TILTED)
    write(folder / "pet", "PET", modality="PT")
    (folder / "notes.txt").write_text("no image")
    report = check_studies(str(folder))
    assert not report.problems
    output = capsys.readouterr().out
    assert "usable    TILTED  12 × CT" in output
    assert "gantry tilt of 10.0°" in output
    assert "excluded  PET" in output
    assert "modality PT; only CT is segmented" in output
    assert "notes.txt" in output
    assert report.summary == "1 usable CT series (1 with a warning), 1 excluded, 1 other files"


def test_series_with_invalid_headers_does_not_affect_others(catalog, tmp_path):
    folder = tmp_path / "dicom"
    write(folder / "good", "GOOD")
    write(folder / "odd", "ODD")
    paths = sorted_slices(folder / "odd")
    change(paths[:1], lambda d: setattr(d, "ImageOrientationPatient", [1, 0, 0, 1, 0, 0]))
    change(paths[1:2], lambda d: setattr(d, "PixelSpacing", [0, 0]))
    change(paths[2:3], lambda d: delattr(d, "Rows"))
    write(folder / "tiny", "TINY")
    change(sorted_slices(folder / "tiny"), lambda d: setattr(d, "PixelSpacing", [0.001, 0.001]))
    found = catalog()
    assert found["GOOD"].problem is None
    assert found["ODD"].problem is not None
    assert "voxels of 0.001 × 0.001 ×" in found["TINY"].problem
