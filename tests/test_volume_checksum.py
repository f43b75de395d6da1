"""S15: a cached volume that differs from what was written is created again, never segmented."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lib.datastore.opening import open_datastore
from lib.datastore.volume import write_volume
from lib.datastore.volume_checksum import KEY, VolumeChecksums
from lib.phantoms import Acquisition, write_dicom_series
from lib.settings import Settings
from tools.support.damage import DAMAGES

GRID = Acquisition(shape=(4, 16, 16), spacing=(2.5, 1, 1))


@pytest.fixture
def datastore(tmp_path):
    voxels = np.random.default_rng(0).integers(-1000, 400, GRID.shape).astype(np.int16)
    write_dicom_series(tmp_path / "dicom", voxels, GRID.affine, patient_id="P")
    datastore = open_datastore(Settings.from_conf(str(tmp_path / "dicom"), {"workspace": str(tmp_path / "workspace")}))
    datastore.client.scan()
    return datastore


def change_header(path):
    content = path.read_bytes().replace(b"space directions: (1", b"space directions: (3")
    assert content != path.read_bytes()
    path.write_bytes(content)


def remove_seal(path):
    path.write_bytes(path.read_bytes().replace(KEY.encode(), b"x" * len(KEY)))


STATES = {**DAMAGES, "header": change_header, "older version": remove_seal}


@pytest.mark.parametrize("kind", STATES)
def test_s15_damaged_volume_is_created_again(datastore, tmp_path, kind):
    (image,) = datastore.list_images()
    path = Path(datastore.get_image_uri(image))
    whole, voxels = path.read_bytes(), sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    STATES[kind](path)
    again = open_datastore(datastore._settings)
    for store in (datastore, again):
        assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(store.get_image_uri(image))), voxels)
    assert path.read_bytes() == whole
    written = path.stat().st_mtime_ns
    again.get_image_uri(image)
    assert path.stat().st_mtime_ns == written, "an intact volume is not created again"


def test_writing_does_not_change_the_image_in_memory(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((2, 3, 4), np.int16))
    write_volume(image, tmp_path / "volume.nrrd")
    assert not image.HasMetaDataKey(KEY)
    assert VolumeChecksums().is_intact(tmp_path / "volume.nrrd")
    assert not VolumeChecksums().is_intact(tmp_path / "none.nrrd")
