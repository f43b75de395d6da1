"""C3: what one thread keeps in memory is read by others while it writes."""

import sys
import threading
import time
from types import SimpleNamespace

import pytest

from lib.activelearning import uncertainty_scoring as scoring
from lib.activelearning.uncertainty_scoring import Score, UncertaintyScoring
from lib.datastore.label_store import LabelStore
from lib.publishing import ModelStore
from lib.settings import load_info
from tests.support.small_network import serving_predictor

SECONDS = 2.0


@pytest.fixture(autouse=True)
def threads_take_turns_all_the_time():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Slow(dict):
    """A dict that lets other threads go on between a look and what is done with it."""

    def get(self, *key):
        found = super().get(*key)
        time.sleep(0.0005)
        return found


def together(write, *reads) -> list[BaseException]:
    """Call all of them again and again, each in a thread of its own; what they raised."""
    failures: list[BaseException] = []
    end = time.monotonic() + SECONDS

    def repeat(action) -> None:
        try:
            while time.monotonic() < end and not failures:
                action()
        except BaseException as error:  # whatever the other threads did to it
            failures.append(error)

    threads = [threading.Thread(target=repeat, args=(action,)) for action in (write, *reads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return failures


def test_c3_labels_are_read_while_one_is_submitted(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)
    store = LabelStore(tmp_path)
    store.save("1.2", "final", lambda path: path.write_text("x"), {})
    monkeypatch.setattr(time, "time_ns", lambda: 2**62)  # so that all is cached at once
    store._read = Slow()

    def note() -> None:
        store.note_dicom_seg(store.history("1.2")[0], {})

    def read() -> None:
        assert store.latest("1.2", "final").number == 1
        assert store.labelled_images() == ["1.2"]

    assert together(note, read, read, read) == []


def test_c3_what_was_written_is_what_is_read_next(tmp_path, monkeypatch):
    """A reader that looked before the write must not leave its old list behind as the newest."""
    monkeypatch.setattr("os.fsync", lambda handle: None)
    store = LabelStore(tmp_path)
    number = [0]

    def submit() -> None:
        number[0] = store.save("1.2", "final", lambda path: path.write_text("x"), {}).number
        assert store.history("1.2")[-1].number == number[0]
        if number[0] > 60:
            time.sleep(0.05)

    assert together(submit, lambda: store.history("1.2"), lambda: store.history("1.2")) == []


def test_c3_scores_are_read_while_one_is_made(tmp_path, monkeypatch):
    names = iter(f"1.{number}" for number in range(10**6))
    (tmp_path / "pretrained_lung_tumor.pt").write_bytes(b"weights")
    store = ModelStore(tmp_path)
    work = UncertaintyScoring(
        "uncertainty", serving_predictor(load_info(), store), store, tmp_path / "scores", max_images=5
    )
    monkeypatch.setattr(work, "_made", lambda *_: Score(0.5, "x", 0.1))
    monkeypatch.setattr(scoring, "write_json", lambda *_: None)
    datastore = SimpleNamespace(
        get_image_uri=lambda name: str(tmp_path / "1" / name),
        get_unlabeled_images=lambda: ["1.1", "1.2"],
        labels=SimpleNamespace(current=lambda name: {}),
        series=lambda name: SimpleNamespace(instance_count=1),
    )

    def ask() -> None:
        assert set(work.uncertainties().values()) <= {0.5}
        assert set(work.disagreements().values()) <= {0.1}

    def score() -> None:
        for _ in range(50):
            work.score(next(names), datastore)

    assert together(score, ask, ask, lambda: work.due(datastore)) == []
    assert len(work.uncertainties()) > 50
