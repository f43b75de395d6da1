"""C8: the volume of an image matches its current files, and the cache has a size limit."""

import errno
import os
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread

from lib.datastore.series_datastore import SeriesDatastore
from lib.datastore.volume_cache import VolumeCache
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError
from lib.phantoms import Acquisition, write_dicom_series
from lib.settings import Settings
from tests.support.counting_pacs import CountingPacs, ct

GRID = Acquisition(shape=(4, 16, 20), spacing=(2.5, 1, 1))


class Clock:
    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(tmp_path, clock) -> VolumeCache:
    return VolumeCache(tmp_path / "volumes", 3000, clock=clock)


def add(cache: VolumeCache, clock: Clock, image_id: str, fingerprint: str = "a", size: int = 1000) -> Path:
    """Add a volume, one hour later than the previous one."""
    clock.now += 3600

    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
        os.utime(path, (clock.now, clock.now))

    return cache.get(image_id, fingerprint, write)


def files_in(cache: VolumeCache) -> set[str]:
    return {str(path.relative_to(cache._folder)) for path in cache._folder.glob("*/*.nrrd")}


def test_c8_least_recently_used_volume_is_evicted(cache, clock):
    for image_id in ("1", "2", "3"):
        add(cache, clock, image_id)
    add(cache, clock, "1")  # used again
    add(cache, clock, "4")
    assert files_in(cache) == {"a/1.nrrd", "a/3.nrrd", "a/4.nrrd"}


def test_c8_old_fingerprints_of_an_image_are_evicted_first(cache, clock):
    add(cache, clock, "1", "old")
    add(cache, clock, "2")
    add(cache, clock, "1", "new")
    add(cache, clock, "1", "old")  # used last, but created first
    add(cache, clock, "3")
    assert files_in(cache) == {"a/2.nrrd", "new/1.nrrd", "a/3.nrrd"}
    assert not (cache._folder / "old").exists()
    assert cache.newest("1") == cache.path("1", "new")
    assert cache.newest("9") is None


def test_c8_volume_in_use_is_never_evicted(cache, clock):
    first, second = add(cache, clock, "1"), add(cache, clock, "2")
    cache.pin([second])
    with cache.in_use(first), cache.in_use(first):
        for image_id in ("3", "4", "5", "6"):
            add(cache, clock, image_id)
        assert files_in(cache) == {"a/1.nrrd", "a/2.nrrd", "a/6.nrrd"}
    add(cache, clock, "7")
    assert files_in(cache) == {"a/2.nrrd", "a/6.nrrd", "a/7.nrrd"}
    cache.pin([])
    add(cache, clock, "8")
    assert files_in(cache) == {"a/6.nrrd", "a/7.nrrd", "a/8.nrrd"}


def test_c8_recently_returned_volume_is_kept(cache, clock, caplog):
    """C8: the caller may not have opened the file yet."""
    for image_id in ("1", "2", "3", "4", "5"):
        add(cache, clock, image_id)
        clock.now -= 3599
    assert len(files_in(cache)) == 5
    assert "exceeds its limit" in caplog.text


@pytest.mark.server
def test_c8_volume_used_by_another_process_is_never_evicted(cache, clock, tmp_path):
    """C8: a training reads its volumes in every epoch; once it has ended, they can be evicted."""
    used = add(cache, clock, "1")
    program = (
        "import sys; from pathlib import Path; from lib.datastore.volume_cache import VolumeCache\n"
        "cache = VolumeCache(Path(sys.argv[1]), 1); cache.pin([Path(sys.argv[2])]); "
        "print('kept', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "volumes"), str(used)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "kept\n"
        for image_id in ("2", "3", "4", "5"):
            add(cache, clock, image_id)
        assert files_in(cache) == {"a/1.nrrd", "a/4.nrrd", "a/5.nrrd"}
    finally:
        other.kill()
        other.communicate(timeout=30)
    add(cache, clock, "6")
    assert "a/1.nrrd" not in files_in(cache)
    assert not list((tmp_path / "volumes" / ".in-use").glob("*.json"))


def test_files_of_a_killed_process_are_removed(cache, clock):
    part = cache._folder / "a" / ".part-x.nrrd"
    add(cache, clock, "1", size=4000)
    part.write_bytes(b"x")
    os.utime(part, (clock.now, clock.now))
    add(cache, clock, "2")
    assert part.exists()
    add(cache, clock, "3")
    assert not part.exists()


@pytest.fixture
def studies(tmp_path):
    write_dicom_series(tmp_path / "dicom", np.zeros(GRID.shape, np.int16), GRID.affine, patient_id="P")
    return tmp_path / "dicom"


@pytest.fixture
def datastore(studies, tmp_path) -> SeriesDatastore:
    settings = Settings.from_conf(str(studies), {"workspace": str(tmp_path / "workspace")})
    client = FolderClient(studies, settings.segs_dir, settings.cache_dir / "index.sqlite")
    client.scan()
    return SeriesDatastore(client, settings)


def voxels(datastore: SeriesDatastore) -> np.ndarray:
    (image,) = datastore.list_images()
    return sitk.GetArrayFromImage(sitk.ReadImage(datastore.get_image_uri(image)))


def test_c8_changed_pixels_under_the_same_uids_are_served(datastore, studies, tmp_path):
    """C8: the label still belongs to its image, with its changes against the prediction."""
    (image,) = datastore.list_images()
    assert not voxels(datastore).any()
    mask = np.zeros(GRID.shape, np.uint8)
    mask[1, 2, 3] = 1
    predicted = sitk.GetImageFromArray(mask)
    predicted.CopyInformation(sitk.ReadImage(datastore.get_image_uri(image)))
    sitk.WriteImage(predicted, str(tmp_path / "mask.nrrd"))
    volume = Path(datastore.get_image_uri(image))
    datastore.keep_prediction(image, tmp_path / "mask.nrrd", volume, model_version="1", client_id="c", settings={})
    mask.tofile(tmp_path / "label.bin")
    datastore.save_label(image, str(tmp_path / "label.bin"), "final", {"model_version": "1"})
    before = datastore.get_label_info(image, "final")
    former = datastore.get_image_uri(image)

    for path in studies.iterdir():
        dataset = dcmread(path)
        dataset.PixelData = (np.frombuffer(dataset.PixelData, np.int16) + 5).tobytes()
        dataset.save_as(path)
        os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))
    datastore.client.scan()
    assert (voxels(datastore) == 5).all()
    assert datastore.get_image_uri(image) != former
    (pair,) = datastore.datalist()
    assert pair["image"] == datastore.get_image_uri(image)
    datastore.save_label(image, str(tmp_path / "label.bin"), "final", {"model_version": "1"})
    after = datastore.get_label_info(image, "final")
    assert after["grid"] == before["grid"]
    assert after["changes"] == before["changes"] == {"added": 0, "removed": 0, "kept": 1}


def test_c8_series_with_changed_headers_is_checked_again(datastore, studies):
    """C8: with the same UIDs and number of files."""
    (image,) = datastore.list_images()
    assert not datastore.series(image).problem
    for path in studies.iterdir():
        dataset = dcmread(path)
        dataset.ImagePositionPatient = [0, 0, 0]
        dataset.PatientID = "Q"
        dataset.save_as(path)
    datastore.client.scan()
    datastore.catalog.refresh()
    assert datastore.catalog.get(image).problem
    assert datastore.catalog.get(image).value("PatientID") == "Q"


def test_c8_series_with_a_new_creation_time_is_retrieved_again(tmp_path, monkeypatch):
    pacs = CountingPacs()
    settings = Settings.from_conf(pacs.base_url, {"workspace": str(tmp_path / "workspace")})
    datastore = SeriesDatastore(pacs, settings)
    image = ct(pacs, tmp_path)
    monkeypatch.setattr(pacs, "retrieve_series", lambda *_: pacs.datasets, raising=False)
    first = datastore.get_image_uri(image)
    assert datastore.get_image_uri(image) == first
    for dataset in pacs.datasets:
        dataset.InstanceCreationTime = "111111"
    second = datastore.get_image_uri(image)
    assert second != first
    assert Path(second).parent.name.split("-")[0] == Path(first).parent.name.split("-")[0]


def test_c8_volumes_in_use_are_read_under_the_lock(cache, clock):
    """C8: a concurrent request caused "dictionary changed size during iteration"."""

    class Uses(Counter):
        def __iter__(self):
            assert cache._lock.locked()
            return super().__iter__()

    cache._uses = Uses()
    with cache.in_use(add(cache, clock, "1")):
        for image_id in ("2", "3", "4", "5"):
            add(cache, clock, image_id)
    assert "a/1.nrrd" in files_in(cache)


def test_c8_full_disk_after_a_use_does_not_raise(cache, clock, monkeypatch, caplog):
    """C8: the mask made from the volume already exists."""

    def full(path: Path, content: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    volume = add(cache, clock, "1")
    with monkeypatch.context() as later, cache.in_use(volume):
        later.setattr("lib.datastore.volume_cache.write_json", full)
    assert not cache._uses
    assert "Could not release" in caplog.text
    monkeypatch.setattr("lib.datastore.volume_cache.write_json", full)
    with pytest.raises(OSError, match="No space"), cache.in_use(volume):
        pass
    assert not cache._uses


def labelled(datastore: SeriesDatastore, tmp_path: Path) -> Path:
    (image,) = datastore.list_images()
    volume = Path(datastore.get_image_uri(image))
    np.ones(GRID.shape, np.uint8).tofile(tmp_path / "label.bin")
    datastore.save_label(image, str(tmp_path / "label.bin"), "final", {})
    return volume


def test_c8_only_a_training_pins_its_volumes(datastore, tmp_path):
    """C8: GET /datastore/?output=train and the archive pinned all labelled volumes in the server for ever."""
    volume = labelled(datastore, tmp_path)
    in_use = []
    write = zipfile.ZipFile.write

    def writing(archive: zipfile.ZipFile, path: str, name: str) -> None:
        in_use.extend(datastore.volumes._uses)
        write(archive, path, name)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "write", writing)
        archive = Path(datastore.get_dataset_archive(None))
    assert in_use == [volume]
    assert archive.parent == tmp_path / "workspace" / "cache" / "temporary"
    assert len(datastore.datalist()) == 1
    assert not {*datastore.volumes._uses, *datastore.volumes._kept}
    assert datastore.pinned_datalist() == datastore.datalist()
    assert datastore.volumes._kept == {volume}


@pytest.mark.parametrize("limit", [0, -1, 10**30])
def test_invalid_number_of_archived_cases_is_refused(datastore, tmp_path, limit):
    labelled(datastore, tmp_path)
    with pytest.raises(UserError, match="limit_cases"):
        datastore.get_dataset_archive(limit)


def test_low_failed_archive_leaves_no_files(datastore, tmp_path, monkeypatch):
    """Low: it contains images of all patients."""
    temporary = tmp_path / "workspace" / "cache" / "temporary"
    with pytest.raises(UserError, match="no image is labelled"):
        datastore.get_dataset_archive(None)
    assert list(temporary.iterdir()) == []
    labelled(datastore, tmp_path)

    def fail() -> dict:
        raise RuntimeError("odd")

    monkeypatch.setattr(datastore, "json", fail)
    with pytest.raises(RuntimeError, match="odd"):
        datastore.get_dataset_archive(1)
    assert list(temporary.iterdir()) == []
