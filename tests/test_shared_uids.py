"""Files that share UIDs: copies, other pixels, images of other patients (R2, R7)."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import Dataset, dcmread
from pydicom.uid import RLELossless, generate_uid

from lib.cli.doctor_studies import check_studies
from lib.datastore.catalog import SeriesCatalog
from lib.datastore.volume import read_volume
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.shared_uids import shared_uids
from lib.phantoms.dicom_series import study_instance_uid
from tests.support.dicom_folder import HU, Folder
from tests.support.dicom_variants import change, transcode


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def mirror(dataset: Dataset) -> None:
    pixels = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
    dataset.PixelData = pixels[:, ::-1].tobytes()


def reported_studies(studies: Path, tmp_path: Path) -> tuple[FolderClient, SeriesCatalog]:
    """Return the client and the catalog of a folder from a bug report."""
    client = FolderClient(studies, tmp_path / "segs", tmp_path / "index.sqlite")
    client.scan()
    catalog = SeriesCatalog(client)
    catalog.refresh()
    return client, catalog


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


def test_r2_reported_duplicates_are_excluded(tmp_path, shared_data):
    client, catalog = reported_studies(shared_data / "reports" / "twin-sop-uid" / "studies", tmp_path)
    (series,) = catalog.all()
    assert "'twin', 'twin-other'" in series.problem
    assert len(client.index.problems()) == 24
    assert client.search_for_studies() == []


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
