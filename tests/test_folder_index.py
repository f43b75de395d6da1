"""The index of a folder: what it finds, what it names as unusable, what it notices later."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.matching import values_of
from lib.phantoms import Acquisition, write_dicom_series

SMALL = Acquisition(shape=(5, 16, 24), spacing=(2.5, 1.0, 1.0))


def write_series(directory: Path, patient_id: str = "P1", **options) -> str:
    rng = np.random.default_rng(0)
    hu = rng.integers(-1000, 400, SMALL.shape).astype(np.int16)
    return write_dicom_series(directory, hu, SMALL.affine, patient_id=patient_id, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dicom").mkdir()
    return tmp_path / "dicom"


@pytest.fixture
def client(tmp_path: Path, folder: Path) -> FolderClient:
    return FolderClient(folder, tmp_path / "workspace" / "segs", tmp_path / "workspace" / "index.sqlite")


def counts(client: FolderClient) -> dict[str, int]:
    return {values_of(s, "0020000E")[0]: int(values_of(s, "00201209")[0]) for s in client.search_for_series()}


def test_nested_mixed_and_nameless_files_are_found(client, folder):
    deep = write_series(folder / "a" / "b" / "c")
    other = write_series(folder / "a", patient_id="P2")
    for path in (folder / "a" / "b" / "c").iterdir():
        path.rename(path.with_suffix(""))
    client.scan()
    assert counts(client) == {deep: 5, other: 5}


def test_each_unusable_file_is_named_once_and_hides_nothing(client, folder):
    series = write_series(folder)
    (folder / "notes.txt").write_text("not an image")
    (folder / "empty.dcm").touch()
    whole = next(folder.glob("*.dcm"))
    truncated = folder / "truncated.dcm"
    truncated.write_bytes(whole.read_bytes()[:-200])
    client.scan()
    assert counts(client) == {series: 5}
    problems = {path.name: reason for path, reason in client.index.problems()}
    assert problems.keys() == {"notes.txt", "empty.dcm", "truncated.dcm"}
    assert problems["notes.txt"] == "not a DICOM file"
    assert problems["empty.dcm"] == "empty file"
    assert problems["truncated.dcm"].startswith("truncated")


def test_new_changed_and_removed_files_are_noticed(client, folder):
    first = write_series(folder / "one")
    assert client.scan().added == 5
    assert client.scan().added == 0
    second = write_series(folder / "two", patient_id="P2")
    client.scan()
    assert counts(client) == {first: 5, second: 5}
    shutil.rmtree(folder / "one")
    assert client.scan().removed == 5
    assert counts(client) == {second: 5}


def test_index_survives_a_restart_without_reading_files_again(client, folder, tmp_path):
    series = write_series(folder)
    client.scan()
    again = FolderClient(folder, tmp_path / "workspace" / "segs", tmp_path / "workspace" / "index.sqlite")
    assert counts(again) == {series: 5}
    assert again.scan().added == 0


def test_same_instance_twice_counts_once(client, folder):
    series = write_series(folder / "one")
    shutil.copytree(folder / "one", folder / "copy")
    client.scan()
    assert counts(client) == {series: 5}
    study = values_of(client.search_for_series()[0], "0020000D")[0]
    assert len(client.retrieve_series_metadata(study, series)) == 5


def test_missing_uids_are_made_up_and_stay_the_same(client, folder, tmp_path):
    write_series(folder)
    for path in folder.glob("*.dcm"):
        dataset = dcmread(path)
        dataset.StudyInstanceUID = dataset.SeriesInstanceUID = dataset.SOPInstanceUID = ""
        dataset.save_as(path)
    client.scan()
    (series, count), *others = counts(client).items()
    assert count == 5
    assert not others
    elsewhere = tmp_path / "moved"
    shutil.copytree(folder, elsewhere)
    again = FolderClient(elsewhere, tmp_path / "w2" / "segs", tmp_path / "w2" / "index.sqlite")
    again.scan()
    assert counts(again) == {series: 5}
    study = values_of(client.search_for_series()[0], "0020000D")[0]
    for metadata in client.retrieve_series_metadata(study, series):
        assert values_of(metadata, "0020000D") == [study]
        assert values_of(metadata, "0020000E") == [series]
        assert client.retrieve_frames(study, series, values_of(metadata, "00080018")[0], [1])[1]


def test_links_are_followed_but_not_in_circles(client, folder, tmp_path):
    series = write_series(tmp_path / "elsewhere")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "circle").symlink_to(folder)
    client.scan()
    assert counts(client) == {series: 5}


def test_answers_from_other_threads_while_it_scans(client, folder):
    write_series(folder)
    client.scan()
    failures = []

    def ask() -> None:
        try:
            for _ in range(20):
                assert len(counts(client)) >= 1
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(4):
        write_series(folder / str(number), patient_id=f"Q{number}")
        client.scan()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(counts(client)) == 5


def test_stored_instance_goes_to_the_workspace_and_nothing_is_overwritten(client, folder, tmp_path):
    write_series(folder)
    client.scan()
    before = sorted(path.name for path in folder.iterdir())
    dataset = dcmread(next(folder.glob("*.dcm")))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    client.store_instances([dataset])
    client.store_instances([dataset])
    assert sorted(path.name for path in folder.iterdir()) == before
    assert len(list((tmp_path / "workspace" / "segs").rglob("*.dcm"))) == 2
    study, series = dataset.StudyInstanceUID, dataset.SeriesInstanceUID
    assert client.retrieve_instance(study, series, "1.2.3.4").SOPInstanceUID == "1.2.3.4"


def test_all_compressed_syntaxes_are_handed_out_as_stored(tmp_path, shared_data):
    client = FolderClient(shared_data / "wg04-ct-syntaxes", tmp_path / "segs", tmp_path / "index.sqlite")
    client.scan()
    syntaxes = set()
    for header in client.search_for_series():
        study, series = values_of(header, "0020000D")[0], values_of(header, "0020000E")[0]
        for instance in client.search_for_instances(study, series):
            syntax, frames = client.retrieve_frames(study, series, values_of(instance, "00080018")[0], [1])
            syntaxes.add(str(syntax))
            assert len(frames[0]) > 1000
    assert len(syntaxes) >= 5
