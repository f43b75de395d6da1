"""S8: damaged labels are reported and never used, exported or silently replaced."""

import json
import os
import shutil
import zipfile

import numpy as np
import pytest

from lib.cli import main
from lib.datastore.label_record import read_voxels
from lib.datastore.label_store import LabelStore
from lib.datastore.opening import open_datastore
from lib.errors import UserError
from lib.exports.label_exports import LabelExports
from lib.exports.seg_storage import SegStorage
from lib.phantoms import Acquisition, write_dicom_series
from lib.settings import Settings
from lib.storage.integrity import DamagedFileError
from tools.support.damage import DAMAGES, damage, restore

GRID = Acquisition(shape=(6, 16, 20), spacing=(2.5, 1, 1))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder with two patients, the first with two final labels and the second with one, and their images."""
    folder = tmp_path_factory.mktemp("made")
    for patient in ("A", "B"):
        write_dicom_series(folder / "dicom" / patient, np.zeros(GRID.shape, np.int16), GRID.affine, patient_id=patient)
    datastore = opened(folder)
    images = {datastore.series(uid).value("PatientID"): uid for uid in datastore.list_images()}
    for patient, voxel in (("A", 1), ("A", 2), ("B", 3)):
        mask = np.zeros(GRID.shape, np.uint8)
        mask[voxel, voxel, voxel : voxel + 2] = 1
        mask.tofile(folder / "label.bin")
        datastore.save_label(images[patient], str(folder / "label.bin"), "final", {})
    return folder, images


def opened(folder):
    settings = Settings.from_conf(str(folder / "dicom"), {"workspace": str(folder / "workspace")})
    datastore = open_datastore(settings)
    datastore.client.scan()
    return datastore


@pytest.fixture
def labels_copy(made, tmp_path):
    """Return a copy of these labels for one test."""
    folder, images = made
    shutil.copytree(folder / "workspace" / "labels", tmp_path / "workspace" / "labels")
    (tmp_path / "dicom").symlink_to(folder / "dicom")
    return tmp_path, images


FILES = [("2.nii.gz", kind) for kind in DAMAGES] + [("2.json", kind) for kind in DAMAGES if kind != "missing"]


@pytest.fixture(params=FILES, ids=lambda one: f"S8-{one[0]}-{one[1]}")
def damaged(request, labels_copy):
    """Return the datastore, the image of the damaged label, the other image and the damaged file."""
    folder, images = labels_copy
    name, kind = request.param
    path = folder / "workspace" / "labels" / images["A"] / name
    damage(path, kind)
    return opened(folder), images["A"], images["B"], path


def test_damaged_label_is_reported_and_not_used_by_any_reader(damaged):
    store, image, other, path = damaged
    with pytest.raises(DamagedFileError, match=path.name):
        store.labels.latest(image, "final")
    for read in (store.get_label_uri, store.get_label, store.get_label_info):
        with pytest.raises(DamagedFileError):
            read(image, "final")
    assert store.get_labeled_images() == [other]
    assert store.get_unlabeled_images() == [image], "it is offered again for labelling"
    assert store.labels.current(image) == {}
    assert [one["image_id"] for one in store.datalist()] == [other]
    assert [one.path for one in store.damaged_labels()] == [path]
    assert [one.path for one in store.labels.damage(former=False)] == [path]
    assert list(store.json()["objects"][image]["labels"]) == []
    with zipfile.ZipFile(store.get_dataset_archive(None)) as archive:
        assert [name for name in archive.namelist() if image in name] == []


def test_previous_label_can_be_restored_and_the_damaged_file_stays(damaged, labels_copy, capsys):
    store, image, _, path = damaged
    folder, _ = labels_copy
    command = ["labels", str(folder / "dicom"), "--workspace", str(folder / "workspace")]
    before = path.read_bytes() if path.is_file() else None
    assert main(command) == 1
    assert f"DAMAGED: {store.labels.damage(image)[0].problem}" in capsys.readouterr().out
    assert main([*command, "--image", image, "--restore", "1"]) == 0
    again = opened(folder)
    record = again.labels.latest(image, "final")
    assert (record.number, record.info["restored"]) == (3, 1)
    assert np.argwhere(read_voxels(again.labels.content(record))).tolist() == [[1, 1, 1], [1, 1, 2]]
    assert (path.read_bytes() if path.is_file() else None) == before
    assert [one.path for one in again.labels.damage()] == [path], "still reported among all labels"
    assert again.labels.damage(former=False) == []
    if path.name.endswith(".nii.gz"):
        assert main([*command, "--image", image, "--restore", "2"]) == 1
        assert "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["2.nii.gz", "2.json"])
@pytest.mark.parametrize("kind", ["truncated", "directory"])
def test_file_restored_from_a_backup_is_used_again(labels_copy, name, kind):
    folder, images = labels_copy
    path = folder / "workspace" / "labels" / images["A"] / name
    content = path.read_bytes()
    damage(path, kind)
    store = LabelStore(folder / "workspace" / "labels")
    with pytest.raises(DamagedFileError):
        store.latest(images["A"], "final")
    restore(path, content)
    assert store.content(store.latest(images["A"], "final"))
    assert store.damage() == []


def test_damaged_label_can_be_withdrawn_and_resubmitted(labels_copy):
    folder, images = labels_copy
    damage(folder / "workspace" / "labels" / images["A"] / "2.nii.gz", "truncated")
    store = LabelStore(folder / "workspace" / "labels")
    store.withdraw(images["A"], "final")
    with pytest.raises(UserError, match="no label"):
        store.latest(images["A"], "final")
    store.save(images["A"], "final", lambda part: part.write_bytes(b"new"), {})
    assert store.content(store.latest(images["A"], "final")) == b"new"


@pytest.mark.parametrize("kind", ["truncated", "missing"])
def test_export_reports_damaged_labels_and_writes_the_others(labels_copy, kind, capsys):
    """S8: it was exported as an empty SEG with exit status 0."""
    folder, images = labels_copy
    damage(folder / "workspace" / "labels" / images["A"] / "2.nii.gz", kind)
    command = ["export", "--studies", str(folder / "dicom"), "--workspace", str(folder / "workspace")]
    command += ["--output", str(folder / "out"), "--format", "seg", "nifti", "table", "sr", "rtstruct"]
    assert main(command) == 1
    assert f"Label 2 (final) of image {images['A']} is damaged" in capsys.readouterr().err
    written = {path.name for path in (folder / "out").iterdir()}
    assert written
    assert not [name for name in written if images["A"] in name]
    assert images["A"] not in (folder / "out" / "lesions.csv").read_text()


def test_damage_with_unchanged_mtime_is_detected_on_read(labels_copy):
    """S8: listings verify a checksum only after the file status changed; every read verifies the bytes."""
    folder, images = labels_copy
    store = LabelStore(folder / "workspace" / "labels")
    record = store.latest(images["A"], "final")
    exports = LabelExports(opened(folder), {})
    path = folder / "workspace" / "labels" / images["A"] / "2.nii.gz"
    status = path.stat()
    damage(path, "bit flip")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    for read in (store.content, store.path, exports._mask):
        with pytest.raises(DamagedFileError):
            read(record)
    assert store.damage_of(record) is not None


def test_no_seg_is_made_of_a_damaged_label(labels_copy):
    folder, images = labels_copy
    damage(folder / "workspace" / "labels" / images["A"] / "1.nii.gz", "truncated")
    store = opened(folder)
    SegStorage(store, LabelExports(store, Settings.from_conf("x").info), to_pacs=False).store_missing()
    first, second = store.labels.history(images["A"])
    assert "is damaged" in first.dicom_seg["error"]
    assert "sop_instance_uid" in second.dicom_seg


@pytest.mark.parametrize("change", [{"tag": "original"}, {"number": 7}, {"sha256": "x"}, {"info": []}, {"time": "now"}])
def test_edited_record_is_rejected(labels_copy, change):
    folder, images = labels_copy
    path = folder / "workspace" / "labels" / images["A"] / "2.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DamagedFileError, match=r"2\.json"):
        LabelStore(folder / "workspace" / "labels").latest(images["A"], "final")


def test_record_of_an_older_version_without_checksum_is_read(labels_copy):
    folder, images = labels_copy
    path = folder / "workspace" / "labels" / images["A"] / "2.json"
    content = json.loads(path.read_text())
    del content["record_sha256"]
    path.write_text(json.dumps(content))
    assert LabelStore(folder / "workspace" / "labels").latest(images["A"], "final").number == 2


def test_file_in_place_of_an_image_folder_is_reported(labels_copy):
    folder, images = labels_copy
    labels = folder / "workspace" / "labels"
    shutil.rmtree(labels / images["A"])
    (labels / images["A"]).write_text("junk")
    (labels / "notes.txt").write_text("a person's")
    (labels / "a b").mkdir()
    store = opened(folder)
    assert store.get_labeled_images() == [images["B"]]
    assert [one.path for one in store.labels.damage()] == [labels / images["A"]]
    with pytest.raises(DamagedFileError, match="Move it away"):
        store.labels.save(images["A"], "final", lambda part: part.write_bytes(b"new"), {})
