"""S8: damaged DICOM SEGs in the workspace are reported, never sent, and rebuilt where possible."""

import numpy as np
import pytest
from pydicom import dcmread

from lib.datastore.opening import open_datastore
from lib.exports.label_exports import LabelExports
from lib.exports.seg_storage import SegStorage
from lib.phantoms import Acquisition, write_dicom_series
from lib.settings import Settings
from lib.storage.integrity import DamagedFileError
from tools.support.damage import DAMAGES, damage

GRID = Acquisition(shape=(4, 16, 16), spacing=(2.5, 1, 1))


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segs") / "dicom"
    write_dicom_series(folder, np.zeros(GRID.shape, np.int16), GRID.affine, patient_id="P")
    return folder


@pytest.fixture
def datastore(studies, tmp_path):
    """Return a datastore with one labelled image, the app's SEG of that label and a SEG stored by a viewer."""
    datastore = open_datastore(Settings.from_conf(str(studies), {"workspace": str(tmp_path / "workspace")}))
    datastore.client.scan()
    mask = np.zeros(GRID.shape, np.uint8)
    mask[1, 2, 3] = 1
    mask.tofile(tmp_path / "label.bin")
    (image,) = datastore.list_images()
    datastore.save_label(image, str(tmp_path / "label.bin"), "final", {})
    store_missing(datastore)
    foreign = dcmread(own(datastore))
    foreign.SOPInstanceUID = foreign.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    foreign.SeriesInstanceUID = "1.2.3"
    datastore.client.store_instances([foreign])
    return datastore


def store_missing(datastore):
    SegStorage(datastore, LabelExports(datastore, datastore._settings.info), to_pacs=False).store_missing()


def own(datastore):
    (record,) = datastore.labels.history(datastore.list_images()[0])
    series = datastore.series(record.image_id)
    return datastore.client.objects.path_of(series.study_uid, record.dicom_seg["sop_instance_uid"])


def foreign(datastore):
    return own(datastore).with_name("1.2.3.4.dcm")


@pytest.mark.parametrize("kind", DAMAGES)
def test_s8_own_seg_is_rebuilt_and_the_damaged_file_kept(datastore, kind):
    path = own(datastore)
    whole = path.read_bytes()
    damage(path, kind)
    assert [one.path for one in datastore.client.objects.damage()] == [path]
    store_missing(datastore)
    assert path.read_bytes() == whole
    assert datastore.client.objects.damage() == []
    aside = list((datastore._settings.workspace / "damaged").rglob("*.dcm.damaged-*"))
    assert len(aside) == (kind != "missing")
    datastore.client.scan()
    found = datastore.client.search_for_instances(search_filters={"Modality": "SEG"})
    assert len(found) == 2
    assert "sop_instance_uid" in datastore.labels.history(datastore.list_images()[0])[0].dicom_seg


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("seen", [False, True], ids=["before a scan", "after a scan"])
def test_s8_damaged_seg_of_a_viewer_is_reported_and_not_sent(datastore, kind, seen):
    path, client = foreign(datastore), datastore.client
    study = path.parent.name
    assert client.retrieve_instance(study, "1.2.3", "1.2.3.4").SOPInstanceUID == "1.2.3.4"
    damage(path, kind)
    if seen:
        client.scan()
    requests = (
        lambda: client.retrieve_instance(study, "1.2.3", "1.2.3.4"),
        lambda: client.retrieve_instance_metadata(study, "1.2.3", "1.2.3.4"),
        lambda: client.retrieve_series(study, "1.2.3")[0],
        lambda: client.retrieve_series_metadata(study, "1.2.3")[0],
        lambda: client.retrieve_frames(study, "1.2.3", "1.2.3.4", [1]),
        lambda: client.series_paths(study, "1.2.3")[0],
    )
    for request in requests:
        with pytest.raises((DamagedFileError, LookupError)):
            request()
    own_series = dcmread(own(datastore)).SeriesInstanceUID
    metadata = client.retrieve_study_metadata(study)
    assert {one["0020000E"]["Value"][0] for one in metadata} >= {own_series}
    assert "1.2.3.4" not in {one["00080018"]["Value"][0] for one in metadata}
    store_missing(datastore)
    (found,) = client.objects.damage()
    assert found.path == path
    assert path.name in found.problem


@pytest.mark.parametrize("kind", [kind for kind in DAMAGES if kind != "missing"])
def test_s8_damaged_checksum_blocks_its_seg_until_removed(datastore, kind):
    path = foreign(datastore)
    checksum = datastore.client.objects._checksum_file(path)
    damage(checksum, kind)
    with pytest.raises(DamagedFileError, match="remove"):
        datastore.client.retrieve_instance(path.parent.name, "1.2.3", "1.2.3.4")
    checksum.rename(checksum.with_name("away"))
    datastore.client.retrieve_instance(path.parent.name, "1.2.3", "1.2.3.4")


def test_s8_objects_of_an_older_version_get_a_checksum(datastore):
    objects = datastore.client.objects
    objects._checksum_file(own(datastore)).unlink()
    assert objects.adopt() == 1
    assert objects.adopt() == 0
    damage(own(datastore), "bit flip")
    assert len(objects.damage()) == 1
