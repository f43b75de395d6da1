"""Background storage of the DICOM SEG of every final label, whose failures never affect the label."""

import numpy as np
import pytest
import requests
from pydicom import Dataset

from lib.cli.labels import _line
from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.pacs_client import pacs_client
from lib.exports.label_exports import LabelExports
from lib.exports.seg_storage import SegStorage
from lib.phantoms import Acquisition, write_dicom_series
from lib.settings import Settings

GRID = Acquisition(shape=(6, 16, 20), spacing=(2.5, 1, 1))


@pytest.fixture
def studies(tmp_path):
    write_dicom_series(tmp_path / "dicom", np.zeros(GRID.shape, np.int16), GRID.affine, patient_id="P")
    return tmp_path / "dicom"


@pytest.fixture
def settings(studies, tmp_path) -> Settings:
    return Settings.from_conf(str(studies), {"workspace": str(tmp_path / "workspace")})


@pytest.fixture
def datastore(studies, settings) -> SeriesDatastore:
    client = FolderClient(studies, settings.segs_dir, settings.cache_dir / "index.sqlite")
    client.scan()
    return SeriesDatastore(client, settings)


@pytest.fixture
def submit(tmp_path):
    def submit(datastore: SeriesDatastore, *voxels: tuple[int, int, int], tag: str = "final") -> None:
        mask = np.zeros(GRID.shape, np.uint8)
        for voxel in voxels:
            mask[voxel] = 1
        mask.tofile(tmp_path / "label.bin")
        datastore.save_label(datastore.list_images()[0], str(tmp_path / "label.bin"), tag, {})

    return submit


def storage(datastore: SeriesDatastore, settings: Settings, to_pacs: bool = False) -> SegStorage:
    return SegStorage(datastore, LabelExports(datastore, settings.info), to_pacs, clock=Clock())


class Clock:
    """Fake clock."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


def later(work: SegStorage, hours: float = 24.0) -> SegStorage:
    """Advance the clock and return the storage."""
    work._clock.now += 3600 * hours
    return work


def segs(datastore: SeriesDatastore) -> list[str]:
    found = datastore.client.search_for_instances(search_filters={"Modality": "SEG"})
    return sorted(one["00080018"]["Value"][0] for one in found)


def seg_notes(datastore: SeriesDatastore) -> list[dict]:
    return [record.dicom_seg for record in datastore.labels.history(datastore.list_images()[0])]


def test_each_version_is_stored_once_in_the_workspace(datastore, settings, submit, studies):
    before = sorted(studies.rglob("*"))
    submit(datastore, (1, 2, 3))
    submit(datastore, (1, 2, 3), (4, 5, 6))
    submit(datastore, (0, 0, 0), tag="original")
    work = storage(datastore, settings)
    work.store_missing()
    first = segs(datastore)
    assert len(first) == 2
    assert sorted(note["sop_instance_uid"] for note in seg_notes(datastore)[:2]) == first
    assert seg_notes(datastore)[2] == {}
    work.store_missing()
    submit(datastore, (1, 2, 3), (4, 5, 7))
    work.store_missing()
    assert len(segs(datastore)) == 3
    assert set(first) < set(segs(datastore))
    assert len(list(settings.segs_dir.rglob("*.dcm"))) == 3
    assert sorted(studies.rglob("*")) == before


def test_stored_but_unrecorded_seg_is_not_stored_again(datastore, settings, submit):
    submit(datastore, (1, 2, 3))
    work = storage(datastore, settings)
    work.store_missing()
    datastore.labels.note_dicom_seg(datastore.labels.latest(datastore.list_images()[0], "final"), {})
    work.store_missing()
    assert len(list(settings.segs_dir.rglob("*.dcm"))) == 1
    assert "sop_instance_uid" in seg_notes(datastore)[0]


def test_failure_is_logged_once_and_retried(datastore, settings, submit, monkeypatch, caplog):
    submit(datastore, (1, 2, 3))
    label = datastore.labels.latest(datastore.list_images()[0], "final")
    work = storage(datastore, settings)

    def away(*_):
        raise ConnectionError("the PACS is away")

    def refused(*_):
        answer, failed = Dataset(), Dataset()
        failed.FailureReason = 0xA700
        answer.FailedSOPSequence = [failed]
        return answer

    with monkeypatch.context() as broken:
        broken.setattr(datastore.client, "store_instances", away)
        work.store_missing()
        later(work).store_missing()
        assert caplog.text.count("the PACS is away") == 1
        assert seg_notes(datastore)[0] == {"error": "ConnectionError: the PACS is away"}
        broken.setattr(datastore.client, "store_instances", refused)
        later(work).store_missing()
        assert "reason 42752" in seg_notes(datastore)[0]["error"]
    (record,) = datastore.labels.history(label.image_id)
    assert (record.sha256, record.info) == (label.sha256, label.info)
    assert "no DICOM SEG yet: OSError" in _line(record, in_use=True)
    assert [(one.number, one.tries, one.reason) for one in work.failures()] == [
        (1, 3, seg_notes(datastore)[0]["error"])
    ]
    later(work).store_missing()
    assert work.failures() == []
    assert len(segs(datastore)) == 1
    assert "no DICOM SEG" not in _line(datastore.labels.latest(label.image_id, "final"), in_use=True)


def test_failing_label_does_not_block_others(datastore, settings, submit):
    submit(datastore, (1, 2, 3))
    submit(datastore, (4, 5, 6))
    image = datastore.list_images()[0]
    datastore.labels.path(datastore.labels.history(image)[0]).write_bytes(b"junk")
    storage(datastore, settings).store_missing()
    assert "error" in seg_notes(datastore)[0]
    assert segs(datastore) == [seg_notes(datastore)[1]["sop_instance_uid"]]


def test_c6_retries_back_off_and_read_no_mask_in_between(datastore, settings, submit, monkeypatch):
    submit(datastore, (1, 2, 3))
    submit(datastore, (4, 5, 6))
    work, made = storage(datastore, settings), []
    work.store_missing()
    submit(datastore, (3, 4, 5))
    make = work._exports.dicom_seg
    monkeypatch.setattr(work._exports, "dicom_seg", lambda record: made.append(record.number) or make(record))

    def refused(*_):
        raise OSError("refused")

    monkeypatch.setattr(datastore.client, "store_instances", refused)
    for _ in range(2 * 24 * 60):  # one pass a minute for two days
        work._clock.now += 60
        work.store_missing()
    assert set(made) == {3}, "the mask of a label that is stored was read again"
    assert len(made) < 20
    (failure,) = work.failures()
    assert (failure.number, failure.reason) == (3, "OSError: refused")
    assert 0 < failure.retry_at - work._clock.now <= 24 * 3600
    submit(datastore, (3, 4, 6))  # a new label does not wait for it
    work.store_missing()
    assert made[-1] == 4


def test_unreachable_pacs_is_queried_once_per_pass(datastore, settings, submit, monkeypatch):
    """C6: not once per label."""
    for place in range(4):
        submit(datastore, (place, 2, 3))
    work, queries = storage(datastore, settings), []

    def away(**_):
        queries.append(1)
        raise requests.ConnectionError("away")

    monkeypatch.setattr(datastore.client, "search_for_series", away)
    monkeypatch.setattr(work._exports, "dicom_seg", lambda record: pytest.fail("a mask was read needlessly"))
    work.store_missing()
    assert len(queries) == 1


@pytest.mark.pacs
def test_pacs_is_written_to_only_if_configured(orthanc, studies, submit, tmp_path):
    pacs = orthanc(studies)
    settings = Settings.from_conf(pacs.url, {"workspace": str(tmp_path / "workspace")})
    assert settings.info["config"]["export"]["store_in_pacs"] is False
    settings.cache_dir.mkdir(parents=True)
    datastore = SeriesDatastore(pacs_client(pacs.url), settings)
    submit(datastore, (1, 2, 3))
    silent = storage(datastore, settings)
    silent.start()
    assert silent.join(20)
    assert segs(datastore) == []
    work = storage(datastore, settings, to_pacs=True)
    work.store_missing()
    work.store_missing()
    assert segs(datastore) == [seg_notes(datastore)[0]["sop_instance_uid"]]
    assert not list(settings.workspace.rglob("*.dcm"))
