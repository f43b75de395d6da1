"""C3: in-memory caches are read by other threads while one writes."""

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

pytestmark = pytest.mark.slow  # runs the network

SECONDS = 2.0


@pytest.fixture(autouse=True)
def switch_threads_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Slow(dict):
    """A dict that lets other threads run between a lookup and the use of its result."""

    def get(self, *key):
        found = super().get(*key)
        time.sleep(0.0005)
        return found


def run_concurrently(write, *reads) -> list[BaseException]:
    """Call each function repeatedly in its own thread; return the exceptions raised."""
    failures: list[BaseException] = []
    end = time.monotonic() + SECONDS

    def repeat(action) -> None:
        try:
            while time.monotonic() < end and not failures:
                action()
        except BaseException as error:  # any failure caused by another thread
            failures.append(error)

    threads = [threading.Thread(target=repeat, args=(action,)) for action in (write, *reads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return failures


def test_c3_labels_can_be_read_while_one_is_submitted(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)
    store = LabelStore(tmp_path)
    store.save("1.2", "final", lambda path: path.write_text("x"), {})
    monkeypatch.setattr(time, "time_ns", lambda: 2**62)  # so that everything is cached at once
    store._read = Slow()

    def note() -> None:
        store.note_dicom_seg(store.history("1.2")[0], {})

    def read() -> None:
        assert store.latest("1.2", "final").number == 1
        assert store.labelled_images() == ["1.2"]

    assert run_concurrently(note, read, read, read) == []


def test_c3_reads_after_a_write_see_it(tmp_path, monkeypatch):
    """A reader that started before the write must not overwrite the cache with its old list."""
    monkeypatch.setattr("os.fsync", lambda handle: None)
    store = LabelStore(tmp_path)
    number = [0]

    def submit() -> None:
        number[0] = store.save("1.2", "final", lambda path: path.write_text("x"), {}).number
        assert store.history("1.2")[-1].number == number[0]
        if number[0] > 60:
            time.sleep(0.05)

    assert run_concurrently(submit, lambda: store.history("1.2"), lambda: store.history("1.2")) == []


def test_c3_scores_can_be_read_while_one_is_computed(tmp_path, monkeypatch):
    names = iter(f"1.{number}" for number in range(10**6))
    (tmp_path / "pretrained_lung_tumor.pt").write_bytes(b"weights")
    store = ModelStore(tmp_path)
    work = UncertaintyScoring(
        "uncertainty", serving_predictor(load_info(), store), store, tmp_path / "scores", max_images=5
    )
    monkeypatch.setattr(work, "_compute", lambda *_: Score(0.5, "x", 0.1))
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

    assert run_concurrently(score, ask, ask, lambda: work.due(datastore)) == []
    assert len(work.uncertainties()) > 50
