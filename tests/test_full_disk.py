"""R15: a full disk is reported wherever images are written, and no truncated file is left behind."""

import contextlib
import resource

import numpy as np
import pytest
import SimpleITK as sitk

from lib.datastore.image_writing import NO_ROOM, check_room, write_image
from lib.datastore.volume import write_mask, write_volume
from lib.phantoms import Acquisition, chest_volume, write_dicom_series
from lib.phantoms import write_volume as write_phantom
from tests.support.imports import open_workspace
from tests.support.small_network import infer_task

LIMIT = 50_000


@contextlib.contextmanager
def full_disk():
    """Limit the file size to simulate a full disk; scoped, so that pytest can still write its own log."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def noise(kind=np.uint8) -> sitk.Image:
    return sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 255, (20, 64, 64)).astype(kind))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz", ".mha"])
@full_disk()
def test_image_is_written_completely_or_an_error_is_raised(tmp_path, suffix, compress):
    """R15: ITK silently truncates NIfTI files."""
    with pytest.raises(OSError) as error:
        write_image(noise(), tmp_path / f"a{suffix}", compress)
    assert error.value.errno in NO_ROOM
    small = noise()[:16, :16, :4]
    write_image(small, tmp_path / f"b{suffix}", compress)
    back = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"b{suffix}")))
    assert np.array_equal(back, sitk.GetArrayFromImage(small))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_images_that_fit_are_written(tmp_path, kind):
    for suffix in (".nii", ".nii.gz", ".nrrd"):
        write_image(noise(kind), tmp_path / f"a{suffix}", suffix == ".nii.gz")


@full_disk()
def test_truncated_volumes_and_masks_are_reported_and_removed(tmp_path):
    """R15: masks are labels and results; volumes are cached or uploaded."""
    for write in (
        lambda: write_volume(noise(), tmp_path / "v.nrrd"),
        lambda: write_mask(noise(), tmp_path / "m.nii.gz", True),
    ):
        with pytest.raises(OSError) as error:
            write()
        assert error.value.errno in NO_ROOM
    assert not [path for path in tmp_path.iterdir() if path.stat().st_size]


def test_full_disk_is_not_reported_as_an_unreadable_series(tmp_path):
    """R15: 507, not 422 with ITK's internals."""
    grid = Acquisition(shape=(12, 64, 64), spacing=(6.0, 5.0, 5.2))
    hu, _, _ = chest_volume(3, acquisition=grid)
    uid = write_dicom_series(tmp_path / "dicom", hu, grid.affine, patient_id="P")
    datastore = open_workspace(tmp_path / "dicom", tmp_path / "workspace")
    datastore.client.scan()
    assert datastore.list_images() == [uid]
    with full_disk(), pytest.raises(OSError) as error:
        datastore.get_image_uri(uid)
    assert error.value.errno in NO_ROOM
    assert not list((tmp_path / "workspace" / "cache" / "volumes").rglob("*.nrrd"))


@pytest.mark.slow
def test_truncated_inference_result_is_reported_and_removed(info, store, tmp_path):
    """R15: in the workspace, not in the system's temporary folder."""
    hu, _, affine = chest_volume(3, acquisition=Acquisition(shape=(24, 64, 72), spacing=(6.0, 5.0, 5.2)))
    chest = write_phantom(tmp_path / "chest.nrrd", hu, affine)
    store.serve(store.manifests()[0]["version"])
    task = infer_task(info, store, tmp_path / "results")
    request = {"image": str(chest), "device": "cpu", "logging": "WARNING", "result_extension": ".nrrd"}
    file, _ = task(request)
    assert [str(path) for path in (tmp_path / "results").iterdir()] == [file]
    with full_disk(), pytest.raises(OSError) as error:
        task(request | {"result_compress": False})
    assert error.value.errno in NO_ROOM
    assert [str(path) for path in (tmp_path / "results").iterdir()] == [file]


@full_disk()
def test_free_space_is_checked_in_the_target_folder(tmp_path):
    check_room(tmp_path, LIMIT // 2)
    with pytest.raises(OSError):
        check_room(tmp_path, 2 * LIMIT)
