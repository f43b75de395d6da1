"""The index of a folder: found series, rejected files, and changes between scans."""

import os
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.fileset import FileSet
from pydicom.pixel_data_handlers.rle_handler import _rle_decode_frame as rle_decode_frame
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.matching import values_of
from lib.phantoms import Acquisition, write_dicom_series
from tests.support.dicom_variants import SYNTAXES, change, transcode, write_multi_frame

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


def test_nested_mixed_and_extensionless_files_are_found(client, folder):
    deep = write_series(folder / "a" / "b" / "c")
    other = write_series(folder / "a", patient_id="P2")
    for path in (folder / "a" / "b" / "c").iterdir():
        path.rename(path.with_suffix(""))
    client.scan()
    assert counts(client) == {deep: 5, other: 5}


def test_unusable_files_are_reported_once_and_do_not_affect_others(client, folder):
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


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file names")
def test_non_utf8_file_names_are_reported_and_do_not_affect_others(client, folder):
    """R16: such names come from old Windows archives and made every scan fail."""
    series = write_series(folder)
    for name in (b"M\xfcller", b"J\xf6rg.dcm"):
        shutil.copyfile(min(folder.glob("*.dcm")), folder / "copy")
        (folder / "copy").rename(folder / os.fsdecode(name))
    (folder / os.fsdecode(b"Gro\xdf")).mkdir()
    for _ in range(2):
        client.scan()
        assert counts(client) == {series: 5}
        reported = {path.name: reason for path, reason in client.index.problems()}
        assert sorted(reported) == ["Gro\\udcdf", "J\\udcf6rg.dcm", "M\\udcfcller"]
        assert all("its name is not UTF-8; rename it" in reason for reason in reported.values())


def test_added_and_removed_files_are_detected(client, folder):
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


def test_duplicate_instance_counts_once(client, folder):
    series = write_series(folder / "one")
    shutil.copytree(folder / "one", folder / "copy")
    client.scan()
    assert counts(client) == {series: 5}
    study = values_of(client.search_for_series()[0], "0020000D")[0]
    assert len(client.retrieve_series_metadata(study, series)) == 5


def test_copy_of_a_slice_under_another_uid_is_rejected_and_reported(client, folder):
    series = write_series(folder)
    first, second, *_ = sorted(folder.glob("*.dcm"))
    copy = folder / "copy.dcm"
    shutil.copyfile(first, copy)
    change([copy], lambda dataset: setattr(dataset, "SOPInstanceUID", "1.2.3.4"))
    client.scan()
    assert counts(client) == {series: 5}
    ((path, reason),) = client.index.problems()
    assert path in (first, copy)
    assert "a copy of another slice" in reason

    # With different pixels it is not a copy, and either of the two may be right.
    change([copy], lambda dataset: setattr(dataset, "PixelData", dcmread(second).PixelData))
    client.scan()
    assert counts(client) == {series: 6}
    assert not client.index.problems()


def test_copy_is_used_once_its_original_is_deleted(client, folder):
    series = write_series(folder)
    original = min(folder.glob("*.dcm"))
    shutil.copyfile(original, folder / "copy.dcm")
    change([folder / "copy.dcm"], lambda dataset: setattr(dataset, "SOPInstanceUID", "1.2.3.4"))
    client.scan()
    original.unlink()
    client.scan()
    assert counts(client) == {series: 5}
    assert not client.index.problems()


def test_dicomdir_and_archive_are_reported_and_do_not_affect_others(client, folder):
    series = write_series(folder / "IMAGES")
    files = FileSet()
    for path in (folder / "IMAGES").iterdir():
        files.add(path)
    files.write(folder / "burnt")
    shutil.rmtree(folder / "IMAGES")
    shutil.make_archive(str(folder / "all"), "zip", folder / "burnt")
    client.scan()
    assert counts(client) == {series: 5}
    problems = {path.name: reason for path, reason in client.index.problems()}
    assert problems.keys() == {"DICOMDIR", "all.zip"}
    assert "a directory of other files" in problems["DICOMDIR"]
    assert problems["all.zip"] == "not a DICOM file"


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_image_files_are_found_and_identified_by_content(client, folder, suffix):
    image = sitk.GetImageFromArray(np.arange(-1000, 200, dtype=np.int16).reshape(10, 10, 12))
    image.SetSpacing((0.7, 0.7, 2.5))
    path = folder / f"scan{suffix}"
    sitk.WriteImage(image, path, True)
    (folder / f"broken{suffix}").write_bytes(b"no image")
    client.scan()
    (found,) = client.images()
    assert (found.name, found.size, found.lowest, found.highest) == ("scan", (12, 10, 10), -1000, 199)
    assert not client.search_for_series()
    ((broken, reason),) = client.index.problems()
    assert broken.name.startswith("broken")
    assert reason.startswith("damaged")

    (folder / "deeper").mkdir()
    for part in folder.glob("scan*"):
        part.rename(folder / "deeper" / part.name)
    client.scan()
    (moved,) = client.images()
    assert moved.path == folder / "deeper" / path.name
    assert moved.uid == found.uid

    sitk.WriteImage(image + 1, folder / "deeper" / path.name, True)
    client.scan()
    assert client.images()[0].uid != found.uid


def test_missing_uids_are_generated_and_stable(client, folder, tmp_path):
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


@pytest.mark.parametrize(
    ("charset", "name"), [("ISO_IR 100", "Müller^Jörg"), ("ISO_IR 192", "山田^太郎"), ("ISO_IR 144", "Иванов^Иван")]
)
def test_names_in_any_character_set_are_found(client, folder, charset, name):
    write_series(folder)

    def edit(dataset) -> None:
        dataset.SpecificCharacterSet = charset
        dataset.PatientName = name

    change(list(folder.iterdir()), edit)
    client.scan()
    (study,) = client.search_for_studies(search_filters={"PatientName": name})
    assert values_of(study, "00100010") == [name]


def test_symlinks_are_followed_without_loops(client, folder, tmp_path):
    series = write_series(tmp_path / "elsewhere")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(folder)
    client.scan()
    assert counts(client) == {series: 5}


def test_queries_from_other_threads_during_a_scan(client, folder):
    write_series(folder)
    client.scan()
    failures = []

    def query() -> None:
        try:
            for _ in range(20):
                assert len(counts(client)) >= 1
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=query) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(4):
        write_series(folder / str(number), patient_id=f"Q{number}")
        client.scan()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(counts(client)) == 5


def test_instance_is_stored_in_the_workspace_and_overwrites_nothing(client, folder, tmp_path):
    write_series(folder)
    client.scan()
    before = sorted(path.name for path in folder.iterdir())
    dataset = dcmread(next(folder.glob("*.dcm")))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.PixelData = dataset.PixelData[::-1]
    first = client.store_instances([dataset])
    assert "FailedSOPSequence" not in first
    (stored,) = (tmp_path / "workspace" / "segs").rglob("*.dcm")
    content = stored.read_bytes()
    dataset.PixelData = dataset.PixelData[::-1]
    again = client.store_instances([dataset])
    assert again.FailedSOPSequence[0].FailureReason == 0x0111
    assert sorted(path.name for path in folder.iterdir()) == before
    assert list((tmp_path / "workspace" / "segs").rglob("*.dcm")) == [stored]
    assert stored.read_bytes() == content
    study, series = dataset.StudyInstanceUID, dataset.SeriesInstanceUID
    assert client.retrieve_instance(study, series, "1.2.3.4").SOPInstanceUID == "1.2.3.4"


def test_compressed_frames_are_returned_as_stored(tmp_path, shared_data):
    syntaxes = set()
    for path in (shared_data / "wg04-ct-syntaxes").glob("CT2_*"):
        folder = tmp_path / path.name  # separate, since the lossless ones are copies of each other
        folder.mkdir()
        shutil.copyfile(path, folder / path.name)
        client = FolderClient(folder, tmp_path / "segs", folder / "index.sqlite")
        client.scan()
        (header,) = client.search_for_series()
        study, series = values_of(header, "0020000D")[0], values_of(header, "0020000E")[0]
        (instance,) = client.search_for_instances(study, series)
        syntax, frames = client.retrieve_frames(study, series, values_of(instance, "00080018")[0], [1])
        syntaxes.add(str(syntax))
        assert len(frames[0]) > 1000
    assert len(syntaxes) == 6


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_frames_are_returned_in_a_syntax_that_browsers_decode(client, folder, syntax):
    """Little endian, inflated, or RLE unchanged: the inputs of OHIF's decoders."""
    series = write_series(folder)
    plain = {path.name: dcmread(path) for path in folder.iterdir()}
    transcode(folder, syntax)
    client.scan()
    study = values_of(client.search_for_series()[0], "0020000D")[0]
    for dataset in plain.values():
        given, (frame,) = client.retrieve_frames(study, series, dataset.SOPInstanceUID, [1])
        if syntax == RLELossless:
            assert given == RLELossless
            rows, columns, bits = dataset.Rows, dataset.Columns, dataset.BitsAllocated
            frame = bytes(rle_decode_frame(frame, rows, columns, 1, bits))
        else:
            assert given == ExplicitVRLittleEndian
        assert frame == dataset.PixelData
        (metadata,) = [
            m
            for m in client.retrieve_series_metadata(study, series)
            if values_of(m, "00080018") == [dataset.SOPInstanceUID]
        ]
        assert values_of(metadata, "00280010") == [str(dataset.Rows)]


def test_frames_of_a_multi_frame_instance_are_returned_individually(client, folder, tmp_path):
    write_series(tmp_path / "plain")
    series = write_multi_frame(tmp_path / "plain", folder)
    client.scan()
    (header,) = client.search_for_series()
    study = values_of(header, "0020000D")[0]
    (instance,) = client.search_for_instances(study, series)
    sop = values_of(instance, "00080018")[0]
    assert values_of(instance, "00280008") == ["5"]
    for number, path in enumerate(sorted((tmp_path / "plain").iterdir()), start=1):
        syntax, (frame,) = client.retrieve_frames(study, series, sop, [number])
        assert syntax == ExplicitVRLittleEndian
        assert frame == dcmread(path).PixelData
    with pytest.raises(IndexError, match="frames 1 to 5"):
        client.retrieve_frames(study, series, sop, [6])


def test_storing_an_instance_does_not_scan_other_files(client, folder):
    series = write_series(folder)
    client.scan()
    other = write_series(folder / "new", patient_id="P2")
    dataset = dcmread(next(folder.glob("*.dcm")))
    dataset.SeriesInstanceUID, dataset.SOPInstanceUID = "1.2.3.5", "1.2.3.4"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    client.store_instances([dataset])
    assert counts(client) == {series: 5, "1.2.3.5": 1}
    assert client.scan().added == 5
    assert counts(client) == {series: 5, "1.2.3.5": 1, other: 5}
