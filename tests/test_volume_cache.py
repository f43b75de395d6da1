"""C8: the volume of an image is that of its files as they are now, and the cache has a limit."""

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


def make(cache: VolumeCache, clock: Clock, image_id: str, fingerprint: str = "a", size: int = 1000) -> Path:
    """A volume, an hour later than the last."""
    clock.now += 3600

    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
        os.utime(path, (clock.now, clock.now))

    return cache.get(image_id, fingerprint, write)


def left(cache: VolumeCache) -> set[str]:
    return {str(path.relative_to(cache._folder)) for path in cache._folder.glob("*/*.nrrd")}


def test_the_least_recently_used_makes_room(cache, clock):
    """C8"""
    for image_id in ("1", "2", "3"):
        make(cache, clock, image_id)
    make(cache, clock, "1")  # used again
    make(cache, clock, "4")
    assert left(cache) == {"a/1.nrrd", "a/3.nrrd", "a/4.nrrd"}


def test_old_fingerprints_of_an_image_go_first(cache, clock):
    """C8"""
    make(cache, clock, "1", "old")
    make(cache, clock, "2")
    make(cache, clock, "1", "new")
    make(cache, clock, "1", "old")  # used last, but made first
    make(cache, clock, "3")
    assert left(cache) == {"a/2.nrrd", "new/1.nrrd", "a/3.nrrd"}
    assert not (cache._folder / "old").exists()
    assert cache.newest("1") == cache.path("1", "new")
    assert cache.newest("9") is None


def test_a_volume_in_use_is_never_removed(cache, clock):
    """C8"""
    first, second = make(cache, clock, "1"), make(cache, clock, "2")
    cache.pin([second])
    with cache.in_use(first), cache.in_use(first):
        for image_id in ("3", "4", "5", "6"):
            make(cache, clock, image_id)
        assert left(cache) == {"a/1.nrrd", "a/2.nrrd", "a/6.nrrd"}
    make(cache, clock, "7")
    assert left(cache) == {"a/2.nrrd", "a/6.nrrd", "a/7.nrrd"}
    cache.pin([])
    make(cache, clock, "8")
    assert left(cache) == {"a/6.nrrd", "a/7.nrrd", "a/8.nrrd"}


def test_what_was_just_handed_out_stays(cache, clock, caplog):
    """C8: who was given a path has not opened the file yet."""
    for image_id in ("1", "2", "3", "4", "5"):
        make(cache, clock, image_id)
        clock.now -= 3599
    assert len(left(cache)) == 5
    assert "exceeds its limit" in caplog.text


@pytest.mark.server
def test_a_volume_that_another_process_uses_is_never_removed(cache, clock, tmp_path):
    """C8: a training reads its volumes again in each epoch; once it has ended, however, they go like others."""
    used = make(cache, clock, "1")
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
            make(cache, clock, image_id)
        assert left(cache) == {"a/1.nrrd", "a/4.nrrd", "a/5.nrrd"}
    finally:
        other.kill()
        other.communicate(timeout=30)
    make(cache, clock, "6")
    assert "a/1.nrrd" not in left(cache)
    assert not list((tmp_path / "volumes" / ".in-use").glob("*.json"))


def test_what_a_killed_process_left_is_removed(cache, clock):
    part = cache._folder / "a" / ".part-x.nrrd"
    make(cache, clock, "1", size=4000)
    part.write_bytes(b"x")
    os.utime(part, (clock.now, clock.now))
    make(cache, clock, "2")
    assert part.exists()
    make(cache, clock, "3")
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


def test_pixels_that_change_under_the_same_uids_are_served(datastore, studies, tmp_path):
    """C8: and the label goes on being of its image, with what was changed of the prediction."""
    (image,) = datastore.list_images()
    assert not voxels(datastore).any()
    mask = np.zeros(GRID.shape, np.uint8)
    mask[1, 2, 3] = 1
    predicted = sitk.GetImageFromArray(mask)
    predicted.CopyInformation(sitk.ReadImage(datastore.get_image_uri(image)))
    sitk.WriteImage(predicted, str(tmp_path / "mask.nrrd"))
    datastore.keep_prediction(image, tmp_path / "mask.nrrd", model_version="1", client_id="c", settings={})
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


def test_a_series_whose_headers_change_is_judged_again(datastore, studies):
    """C8: under the same UIDs and with as many files as before."""
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


def test_a_pacs_that_tells_another_creation_time_is_asked_again(tmp_path, monkeypatch):
    """C8"""
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


def test_c8_what_is_in_use_is_read_under_the_lock(cache, clock):
    """C8: while another thread's request began or ended it was "dictionary changed size during iteration"."""

    class Uses(Counter):
        def __iter__(self):
            assert cache._lock.locked()
            return super().__iter__()

    cache._uses = Uses()
    with cache.in_use(make(cache, clock, "1")):
        for image_id in ("2", "3", "4", "5"):
            make(cache, clock, image_id)
    assert "a/1.nrrd" in left(cache)


def test_c8_a_disk_that_is_full_at_the_end_of_a_use_fails_nothing(cache, clock, monkeypatch, caplog):
    """C8: the mask that was made of the volume is there."""

    def full(path: Path, content: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    volume = make(cache, clock, "1")
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


def test_c8_only_a_training_keeps_its_volumes(datastore, tmp_path):
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
def test_an_archive_of_an_impossible_number_of_cases_is_told(datastore, tmp_path, limit):
    labelled(datastore, tmp_path)
    with pytest.raises(UserError, match="limit_cases"):
        datastore.get_dataset_archive(limit)


def test_low_an_archive_that_fails_leaves_nothing(datastore, tmp_path, monkeypatch):
    """Low: it is all of the patients' images."""
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
