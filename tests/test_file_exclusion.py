"""Readable files that are excluded from their series: duplicate UIDs, images of other patients, scouts."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import Dataset, dcmread
from pydicom.uid import RLELossless, SecondaryCaptureImageStorage, generate_uid

from lib.cli.doctor_studies import check_studies
from lib.datastore.catalog import Series, SeriesCatalog
from lib.datastore.volume import read_volume
from lib.dicomweb import folder_index
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.image_kind import ImageKind, outlier_kinds
from lib.dicomweb.matching import values_of
from lib.dicomweb.shared_uids import shared_uids
from lib.exports.source_images import SourceImages
from lib.phantoms import Acquisition, write_dicom_series
from lib.phantoms.dicom_series import study_instance_uid
from tests.support.dicom_variants import change, sorted_slices, transcode, write_multi_frame

GRID = Acquisition(shape=(12, 16, 24), spacing=(2.5, 1.0, 1.0))
HU = np.random.default_rng(0).integers(-1000, 400, GRID.shape).astype(np.int16)


class Folder:
    """A folder of DICOM files and the app's view of it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "dicom"
        self.root.mkdir()
        self.client = FolderClient(self.root, root / "segs", root / "index.sqlite")
        self.catalog = SeriesCatalog(self.client)

    def write(self, name: str, patient_id: str = "P", grid: Acquisition = GRID, **options) -> str:
        return write_dicom_series(self.root / name, HU, grid.affine, patient_id=patient_id, **options)

    def scan_series(self) -> dict[str, Series]:
        """Scan and return the series by SeriesInstanceUID."""
        self.client.scan()
        self.catalog.refresh()
        return {series.uid: series for series in self.catalog.all()}

    def excluded(self) -> dict[str, str]:
        return {path.name: reason for path, reason in self.client.index.problems()}

    def shown(self, study: str) -> set[str]:
        """Return the SeriesInstanceUIDs of a study whose images OHIF receives."""
        listed = {uid for one in self.client.search_for_studies() for uid in values_of(one, "0020000D")}
        shown = {uid for one in self.client.retrieve_study_metadata(study) for uid in values_of(one, "0020000E")}
        assert bool(shown) == (study in listed)
        return shown


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def mirror(dataset: Dataset) -> None:
    pixels = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
    dataset.PixelData = pixels[:, ::-1].tobytes()


# --- R2


def test_r2_two_patients_with_the_same_uids_are_never_mixed(folder, capsys):
    """R2: twin-sop-uid, with file names that do not identify the patient."""
    uid = folder.write("one")
    shutil.copytree(folder.root / "one", folder.root / "two")
    change(list((folder.root / "two").iterdir()), lambda dataset: (mirror(dataset), setattr(dataset, "PatientID", "Q")))
    for number, path in enumerate(sorted(folder.root.rglob("*.dcm"), key=lambda path: path.name[::-1])):
        path.rename(folder.root / f"{number:03d}")
    good = folder.write("good", "GOOD")
    found = folder.scan_series()
    assert "images of several patients share its Series Instance UID: PatientID 'P', 'Q'" in found[uid].problem
    assert "24 files have the SOP Instance UID of another file" in found[uid].problem
    assert found[good].problem is None
    assert set(folder.excluded().values()) == {"has the SOP Instance UID of another file, but another PatientID"}
    assert len(folder.excluded()) == 24
    assert folder.shown(study_instance_uid("P")) == set()
    assert folder.shown(study_instance_uid("GOOD")) == {good}
    (wrong,) = check_studies(str(folder.root)).problems
    assert uid in wrong
    assert "another PatientID" in capsys.readouterr().out


def test_r2_different_pixels_under_the_same_sop_instance_uid_are_reported(folder):
    """R2: of the same patient."""
    uid = folder.write("one")
    original = sorted(folder.root.rglob("*.dcm"))[3]
    shutil.copyfile(original, folder.root / "changed")
    change([folder.root / "changed"], mirror)
    problem = folder.scan_series()[uid].problem
    assert problem.startswith("2 files have the SOP Instance UID of another file, but other pixels")
    assert "changed" in problem
    assert folder.excluded().keys() == {original.name, "changed"}

    (folder.root / "changed").unlink()
    assert folder.scan_series()[uid].problem is None
    assert folder.excluded() == {}
    assert len(folder.client.index.instances(uid)) == 12


def test_r2_duplicate_added_later_is_reported(folder):
    """R2: a usable series becomes unusable."""
    uid = folder.write("one")
    assert folder.scan_series()[uid].problem is None
    shutil.copyfile(min(folder.root.rglob("*.dcm")), folder.root / "later")
    change([folder.root / "later"], mirror)
    assert "other pixels" in folder.scan_series()[uid].problem


@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_r2_identical_copies_are_excluded_without_a_warning(folder, syntax):
    """R2: same pixels, possibly in another transfer syntax."""
    uid = folder.write("one")
    shutil.copytree(folder.root / "one", folder.root / "two")
    if syntax:
        transcode(folder.root / "two", syntax)
    series = folder.scan_series()[uid]
    assert (series.problem, series.warnings, series.instance_count) == (None, (), 12)
    assert set(folder.excluded().values()) == {"a copy of another file: same SOP Instance UID and pixels"}
    assert np.array_equal(sitk.GetArrayFromImage(read_volume(folder.client.series_paths(series.study_uid, uid))), HU)

    shutil.rmtree(folder.root / "one")
    series = folder.scan_series()[uid]
    assert (series.problem, series.instance_count) == (None, 12)
    assert folder.excluded() == {}


def test_r2_slices_of_two_patients_in_one_series_are_never_mixed(folder):
    """R2: different SOP Instance UIDs, same Series Instance UID."""
    uid = folder.write("one")

    def edit(dataset: Dataset) -> None:
        dataset.PatientID = "Q"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()

    change(sorted(folder.root.rglob("*.dcm"))[5:], edit)
    assert "PatientID 'P', 'Q'" in folder.scan_series()[uid].problem
    assert folder.shown(study_instance_uid("P")) == set()


def test_r2_series_uid_in_two_studies_is_excluded(folder):
    """R2: the image id would be ambiguous."""
    uid = folder.write("one")
    shutil.copytree(folder.root / "one", folder.root / "two")
    change(list((folder.root / "two").iterdir()), lambda dataset: setattr(dataset, "StudyInstanceUID", "1.2.3"))
    assert "2 studies share its Series Instance UID" in folder.scan_series()[uid].problem


def test_r2_stored_instance_does_not_replace_a_file_of_the_user(folder):
    """R2: an object stored by an earlier version must not make a series unusable; now it is refused."""
    uid = folder.write("one")
    folder.scan_series()
    dataset = dcmread(min(folder.root.rglob("*.dcm")))
    mirror(dataset)
    assert folder.client.store_instances([dataset]).FailedSOPSequence[0].FailureReason == 0x0111
    dataset.save_as(folder.root.parent / "segs" / "stored.dcm")
    folder.client.scan()
    assert len(folder.client.index.instances(uid)) == 12
    ((path, reason),) = folder.client.index.problems()
    assert not path.is_relative_to(folder.root)
    assert reason == "has the SOP Instance UID of an earlier file, which is used instead"
    catalog = SeriesCatalog(folder.client)
    catalog.refresh()
    assert catalog.get(uid).problem is None


def reported_studies(studies: Path, tmp_path: Path) -> tuple[FolderClient, SeriesCatalog]:
    """Return the client and the catalog of a folder from a bug report."""
    client = FolderClient(studies, tmp_path / "segs", tmp_path / "index.sqlite")
    client.scan()
    catalog = SeriesCatalog(client)
    catalog.refresh()
    return client, catalog


def test_r2_reported_duplicates_are_excluded(tmp_path, shared_data):
    client, catalog = reported_studies(shared_data / "reports" / "twin-sop-uid" / "studies", tmp_path)
    (series,) = catalog.all()
    assert "'twin', 'twin-other'" in series.problem
    assert len(client.index.problems()) == 24
    assert client.search_for_studies() == []


# --- R7


def test_r7_study_of_two_patients_is_reported_and_hidden(folder, capsys):
    """R7: OHIF would show the second patient's images under the first's name."""
    first, second = folder.write("one"), folder.write("two", "Q")
    study = study_instance_uid("P")
    change(list((folder.root / "two").iterdir()), lambda dataset: setattr(dataset, "StudyInstanceUID", study))
    good = folder.write("good", "GOOD")
    found = folder.scan_series()
    for uid in (first, second):
        assert "images of several patients, PatientIDs 'P' (1 series), 'Q' (1 series)" in found[uid].problem
    assert found[good].problem is None
    assert folder.catalog.images() == [good]
    assert folder.shown(study) == set()
    assert len(check_studies(str(folder.root)).problems) == 2
    assert "Give each patient's study a UID of its own" in capsys.readouterr().out

    shutil.rmtree(folder.root / "two")
    assert folder.scan_series()[first].problem is None
    assert folder.shown(study) == {first}


def test_r7_only_the_object_of_another_patient_is_excluded():
    """R7: a report or DICOM SEG with another PatientID must not hide the images of its study."""

    def header(uid: str, modality: str, patient: str) -> dict:
        dataset = Dataset()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2", uid
        dataset.Modality, dataset.PatientID = modality, patient
        return dataset.to_json_dict()

    found = shared_uids(
        [header("1", "CT", "P"), header("2", "SEG", "Q"), header("3", "SR", ""), header("4", "SR", "P ")]
    )
    assert found == {"2": "it has PatientID 'Q', but belongs to a study of 'P'"}


def test_r7_pacs_with_mixed_patients_is_reported(folder):
    """R7: based on its QIDO-RS responses."""

    class Pacs:
        base_url = "http://pacs"

        def search_for_series(self, **query):
            return folder.client.search_for_series()

        def search_for_instances(self, study, series, **query):
            return folder.client.search_for_instances(study, series)

    folder.write("one")
    folder.write("two", "Q")
    change(list((folder.root / "two").iterdir()), lambda d: setattr(d, "StudyInstanceUID", study_instance_uid("P")))
    folder.client.scan()
    catalog = SeriesCatalog(Pacs())
    catalog.refresh()
    assert all("images of several patients" in series.problem for series in catalog.all())


def test_r7_reported_study_of_two_patients_is_excluded(tmp_path, shared_data):
    client, catalog = reported_studies(shared_data / "reports" / "shared-study-uid" / "studies", tmp_path)
    assert len(catalog.all()) == 2
    assert all("'shared-study' (1 series), 'somebody-else' (1 series)" in series.problem for series in catalog.all())
    assert client.search_for_studies() == []


# --- R11


def scout(dataset: Dataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def dose_sheet(dataset: Dataset) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.Modality = "OT"
    dataset.SeriesDescription = "Dose"
    del dataset.ImagePositionPatient, dataset.ImageOrientationPatient


def cropped(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[: 8 * dataset.Columns * 2]
    dataset.Rows = 8


def sagittal(dataset: Dataset) -> None:
    dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


@pytest.mark.parametrize("plane", ["head_first_supine", "feet_first_supine", "coronal"])
@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (scout, "a localizer (scout)"),
        (dose_sheet, "modality OT"),
        (cropped, "8×24 pixels, where the others are 16×24 pixels"),
        (sagittal, "in another plane than the others"),
    ],
)
def test_r11_odd_image_is_excluded_and_the_series_used(folder, edit, reason, plane):
    """R11: volume, viewer and DICOM SEG refer to the same slices."""
    grid = Acquisition(shape=GRID.shape, spacing=GRID.spacing, plane=plane)
    uid = folder.write("one", grid=grid, shuffle_files=True)
    for name in ("0-first", "z-last"):
        shutil.copyfile(min((folder.root / "one").iterdir()), folder.root / name)
    (folder.root / "z-last").unlink()

    def other(dataset: Dataset) -> None:
        edit(dataset)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()

    change([folder.root / "0-first"], other)
    series = folder.scan_series()[uid]
    assert (series.problem, series.instance_count, series.value("SeriesDescription")) == (None, 12, "Chest")
    assert series.warnings == (f"1 image(s) of the series are excluded, {reason}: 0-first",)
    assert folder.excluded() == {"0-first": f"not of the same kind as the other images of its series: {reason}"}
    image = read_volume(folder.client.series_paths(series.study_uid, uid))
    assert np.array_equal(sitk.GetArrayFromImage(image), HU)
    metadata = folder.client.retrieve_series_metadata(series.study_uid, uid)
    assert metadata == folder.client.retrieve_study_metadata(series.study_uid)
    sources = SourceImages.of(metadata)
    assert len(sources.headers) == 12
    for number, header in enumerate(sources.headers):
        position = image.TransformIndexToPhysicalPoint((0, 0, number))
        np.testing.assert_allclose(position, header.ImagePositionPatient, atol=1e-4)
    np.testing.assert_allclose(
        image.TransformIndexToPhysicalPoint((5, 4, 3)), (grid.affine @ [5, 4, 3, 1])[:3], atol=1e-4
    )


def test_r11_multi_frame_scan_is_used_without_its_scout(folder, tmp_path):
    """R11: one file with twelve frames and one with a single image."""
    folder.write("plain")
    uid = write_multi_frame(folder.root / "plain", folder.root / "frames")
    shutil.copyfile(min((folder.root / "plain").iterdir()), folder.root / "scout")
    shutil.rmtree(folder.root / "plain")
    change([folder.root / "scout"], lambda dataset: (scout(dataset), setattr(dataset, "SeriesInstanceUID", uid)))
    series = folder.scan_series()[uid]
    assert series.problem is None
    image = read_volume(folder.client.series_paths(series.study_uid, uid))
    assert image.GetSize() == GRID.shape[::-1]


def test_r11_odd_image_that_comes_first_does_not_exclude_later_slices(folder):
    """R11: odd images are determined again with every added and removed slice."""
    uid = folder.write("one")
    paths = sorted_slices(folder.root / "one")
    change(paths[:1], scout)
    away = folder.root.parent / "away"
    away.mkdir()
    for path in paths[1:]:
        path.rename(away / path.name)
    assert "scout" in folder.scan_series()[uid].problem
    for path in sorted(away.iterdir()):
        path.rename(folder.root / path.name)
    series = folder.scan_series()[uid]
    assert (series.problem, series.instance_count) == (None, 11)
    paths[0].unlink()
    assert folder.scan_series()[uid].warnings == ()


def test_r11_nothing_is_excluded_when_the_majority_is_unclear():
    """R11: nine of ten slices must be alike; images that are no slices do not count."""

    def kind(size: str = "512", **changed) -> ImageKind:
        plain = ImageKind(
            "CT", "1.2.840.10008.5.1.4.1.1.2", (size, size), "1", "", (0.7, 0.7), (1, 0, 0, 0, 1, 0), True
        )
        return ImageKind(**{**plain.__dict__, **changed})

    whole, small, tilted = kind(), kind("256"), kind(orientation=(1, 0, 0, 0, 0.9999, 0.0004))
    screen = kind(sop_class=SecondaryCaptureImageStorage)
    assert outlier_kinds({whole: 90, small: 10}).keys() == {small}
    assert outlier_kinds({whole: 89, small: 11}) == {}
    assert outlier_kinds({whole: 60, tilted: 40}) == {}
    assert outlier_kinds({whole: 12, screen: 10}).keys() == {screen}
    assert outlier_kinds({whole: 2, screen: 1}) == {}
    assert outlier_kinds({whole: 9, screen: 10}) == {}
    assert outlier_kinds({screen: 3}) == {}


# --- R16


def test_r16_unreadable_files_and_folders_are_reported_and_retried(folder, monkeypatch):
    """R16: permissions do not apply to root, so the errors are injected."""
    uid = folder.write("one")
    folder.write("locked", "Q")
    bad = min((folder.root / "one").iterdir())
    scandir, read = os.scandir, folder_index.read_index_header

    def refuse_folder(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    def refuse_file(path):
        if path == bad:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(os, "scandir", refuse_folder)
    monkeypatch.setattr(folder_index, "read_index_header", refuse_file)
    assert folder.scan_series()[uid].instance_count == 11
    assert folder.excluded() == {
        "locked": "cannot be read (folder): Permission denied",
        bad.name: "cannot be read (file): Permission denied",
    }
    (wrong,) = [line for line in check_studies(str(folder.root)).problems if "locked" in line]
    assert wrong.startswith("2 files or folders cannot be read")
    monkeypatch.undo()
    found = folder.scan_series()
    assert found[uid].instance_count == 12
    assert len(found) == 2
    assert folder.excluded() == {}
