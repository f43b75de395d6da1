"""The history of labels: nothing is overwritten, half written or written outside of the folder."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from lib.datastore.label_store import LabelStore
from lib.errors import UserError
from lib.storage.integrity import DamagedFileError
from tools.support.waiting import wait_for


def save(store: LabelStore, text: str, image_id: str = "1.2.3", tag: str = "final", **info):
    return store.save(image_id, tag, lambda path: path.write_text(text), info)


def test_every_submission_is_kept(tmp_path):
    store = LabelStore(tmp_path)
    save(store, "first", user="a")
    save(store, "second", user="b")
    assert store.path(store.latest("1.2.3", "final")).read_text() == "second"
    assert [store.path(record).read_text() for record in store.history("1.2.3")] == ["first", "second"]
    assert [record.info["user"] for record in store.history("1.2.3")] == ["a", "b"]


def test_tags_are_independent(tmp_path):
    store = LabelStore(tmp_path)
    save(store, "model", tag="original")
    save(store, "person")
    assert store.path(store.latest("1.2.3", "original")).read_text() == "model"
    assert store.current("1.2.3").keys() == {"final", "original"}


def test_withdrawn_label_is_kept_but_not_used(tmp_path):
    store = LabelStore(tmp_path)
    record = save(store, "text")
    store.withdraw("1.2.3", "final")
    assert store.labelled_images() == []
    assert store.path(record).read_text() == "text"
    with pytest.raises(UserError, match="no label 'final'"):
        store.latest("1.2.3", "final")
    save(store, "again")
    assert store.path(store.latest("1.2.3", "final")).read_text() == "again"


@pytest.mark.parametrize("image_id", ["../x", "a/b", "", ".", "..", ".hidden", "x" * 200])
def test_image_id_cannot_be_a_path(tmp_path, image_id):
    store = LabelStore(tmp_path / "labels")
    with pytest.raises(UserError, match="not an image id"):
        save(store, "text", image_id=image_id)
    assert {path.name for path in tmp_path.rglob("*")} <= {"labels", ".lock"}


@pytest.mark.parametrize("tag", ["../../x", "a/b", "", ".", "final\n"])
def test_tag_cannot_be_a_path(tmp_path, tag):
    store = LabelStore(tmp_path / "labels")
    with pytest.raises(UserError, match="A tag consists of"):
        save(store, "text", tag=tag)
    assert not list(tmp_path.rglob("*.nii.gz"))


def test_failed_write_leaves_no_file(tmp_path):
    store = LabelStore(tmp_path)
    save(store, "good")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.save("1.2.3", "final", fail, {})
    assert store.path(store.latest("1.2.3", "final")).read_text() == "good"
    assert not list(tmp_path.rglob(".part-*"))


def test_damaged_record_is_reported_and_never_overwritten(tmp_path):
    store = LabelStore(tmp_path)
    save(store, "first")
    save(store, "second")
    (tmp_path / "1.2.3" / "2.json").write_text("{")
    again = LabelStore(tmp_path)
    assert [again.path(record).read_text() for record in again.history("1.2.3")] == ["first"]
    with pytest.raises(DamagedFileError, match=r"2\.json"):  # its tag is unknown, but it was the latest record
        again.latest("1.2.3", "final")
    save(again, "third")
    assert (tmp_path / "1.2.3" / "2.nii.gz").read_text() == "second"
    assert again.path(again.latest("1.2.3", "final")).read_text() == "third"


def _submit(folder: Path, who: int, count: int) -> None:
    store = LabelStore(folder)
    for number in range(count):
        save(store, f"{who}-{number}", who=who)


@pytest.mark.server
def test_concurrent_processes_lose_no_label(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_submit, args=(tmp_path, who, 10)) for who in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    store = LabelStore(tmp_path)
    texts = {store.path(record).read_text() for record in store.history("1.2.3")}
    assert texts == {f"{who}-{number}" for who in range(3) for number in range(10)}


@pytest.mark.server
def test_kill_leaves_only_complete_labels(tmp_path):
    context = multiprocessing.get_context("spawn")
    for attempt in range(4):
        worker = context.Process(target=_submit, args=(tmp_path, attempt, 100_000))
        worker.start()
        wait_for(lambda: LabelStore(tmp_path).history("1.2.3"), "the first label", seconds=120, interval=0.01)
        time.sleep(0.05 * attempt)
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        store = LabelStore(tmp_path)
        accepted = list((tmp_path / "1.2.3").glob("[0-9]*.json"))
        assert len(store.history("1.2.3")) == len(accepted)
        for record in store.history("1.2.3"):
            assert (
                store.path(record).read_text()
                == f"{record.info['who']}-" + store.path(record).read_text().split("-")[1]
            )
            assert json.loads((tmp_path / "1.2.3" / f"{record.number}.json").read_text())["sha256"] == record.sha256
        save(store, f"{attempt}-after", who=attempt)
