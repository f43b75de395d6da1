"""Scoring of images: cached per image, model and label, and done in the background."""

import pickle
import threading
import time
from types import SimpleNamespace

import pytest
import SimpleITK as sitk
import torch

from lib.activelearning.background import BackgroundScoring, YieldToUsers, compute_on_one_core
from lib.activelearning.uncertainty_scoring import UncertaintyScoring
from lib.cluster.background import ClusterAwayError
from lib.errors import UserError
from lib.networks import AttentionResidualUNet
from lib.phantoms import Acquisition, chest_volume, draw_lesions, write_volume
from lib.publishing import ModelStore
from lib.publishing.model_store import PRETRAINED
from tests.support.small_network import serving_predictor

pytestmark = pytest.mark.slow  # runs the network

GRID = Acquisition(shape=(8, 48, 48), spacing=(10.0, 7.0, 7.0))


class Datastore:
    """The datastore methods used by scoring, over one phantom file per image."""

    def __init__(self, folder, *names):
        self.folder = folder
        self.unlabelled = list(names)
        self.final = {}
        self.slices = dict.fromkeys(names, 8)
        self.labels = SimpleNamespace(current=lambda name: {"final": self.final[name]} if name in self.final else {})
        for number, name in enumerate(names):
            self.write(name, number)

    def write(self, name, seed):
        hu, mask, affine = chest_volume(seed, lesions=draw_lesions(seed, 2, diameters=(30, 36)), acquisition=GRID)
        write_volume(self.folder / str(self.slices[name]) / f"{name}.nrrd", hu, affine)
        write_volume(self.folder / "masks" / f"{name}.nii.gz", mask, affine)

    def label(self, name, sha256):
        self.final[name] = SimpleNamespace(sha256=sha256)
        if name in self.unlabelled:
            self.unlabelled.remove(name)

    def get_unlabeled_images(self):
        return list(self.unlabelled)

    def get_labeled_images(self):
        return sorted(self.final)

    def series(self, name):
        return SimpleNamespace(instance_count=self.slices[name])

    def get_image_uri(self, name):
        path = self.folder / str(self.slices[name]) / f"{name}.nrrd"
        if not path.exists():
            raise UserError(f"There is no {name}.")
        return str(path)

    def get_label_uri(self, name, tag):
        assert tag == "final"
        return str(self.folder / "masks" / f"{name}.nii.gz")


@pytest.fixture
def models(store):
    """Return a store with two versions, the first of which serves."""
    store.serve(store.manifests()[0]["version"])
    return store


@pytest.fixture
def datastore(tmp_path):
    return Datastore(tmp_path / "volumes", "a", "b")


@pytest.fixture
def start(info, models, tmp_path):
    """Return ``start()``, which builds the scoring of a fresh server; ``.batches`` counts its forward passes."""

    def start(max_images=10):
        batches = []
        scoring = UncertaintyScoring(
            "uncertainty",
            serving_predictor(info, models),
            models,
            tmp_path / "scores",
            max_images=max_images,
            before_each_batch=lambda: batches.append(1),
        )
        scoring.batches = batches
        return scoring

    return start


def score_all(scoring, datastore):
    return scoring({}, datastore)["scored"]


def test_scores_are_cached_across_restarts(start, datastore):
    first = start()
    assert score_all(first, datastore) == 2
    assert first.batches
    assert set(first.uncertainties()) == {"a", "b"}
    assert all(0 <= value <= 1 for value in first.uncertainties().values())
    assert score_all(first, datastore) == 0

    second = start()
    assert second.uncertainties() == {}
    score_all(second, datastore)
    assert second.uncertainties() == first.uncertainties()
    assert not second.batches


def test_new_model_triggers_rescoring_and_old_scores_apply_meanwhile(start, datastore, models):
    scoring = start()
    score_all(scoring, datastore)
    before = scoring.uncertainties()
    models.serve(models.manifests()[1]["version"])
    assert set(scoring.due(datastore)) == {"a", "b"}
    scoring.score("a", datastore)
    now = scoring.uncertainties()
    assert now["a"] != before["a"]
    assert now["b"] == before["b"]
    assert scoring.due(datastore) == ["b"]


def test_replaced_weights_trigger_rescoring(start, datastore, models, info, tmp_path):
    shipped = models.weights(PRETRAINED)
    shipped.write_bytes(models.serving_weights().read_bytes())
    models.serve(PRETRAINED)
    scoring = start()
    score_all(scoring, datastore)
    torch.manual_seed(2)
    torch.save(AttentionResidualUNet(**info["network"]).state_dict(), shipped)
    assert set(scoring.due(datastore)) == {"a", "b"}


def test_changed_series_is_rescored(start, datastore):
    scoring = start()
    score_all(scoring, datastore)
    before = scoring.uncertainties()
    datastore.slices["a"] = 9
    datastore.write("a", 7)
    assert scoring.due(datastore) == ["a"]
    score_all(scoring, datastore)
    assert scoring.uncertainties()["a"] != before["a"]


def test_damaged_score_is_recomputed(start, datastore, tmp_path):
    score_all(start(), datastore)
    for path in (tmp_path / "scores").rglob("a.json"):
        path.write_text("{")
    scoring = start()
    score_all(scoring, datastore)
    assert set(scoring.uncertainties()) == {"a", "b"}
    assert scoring.batches


def test_labels_are_compared_once_every_image_is_labelled(start, datastore, tmp_path):
    scoring = start()
    datastore.label("a", "1")
    assert scoring.due(datastore) == ["b"]
    datastore.label("b", "1")
    score_all(scoring, datastore)
    assert set(scoring.disagreements()) == {"a", "b"}
    mask = sitk.ReadImage(datastore.get_label_uri("a", "final"))
    sitk.WriteImage(mask * 0, datastore.get_label_uri("a", "final"))
    before = scoring.disagreements()
    datastore.label("a", "2")
    assert scoring.due(datastore) == ["a"]
    score_all(scoring, datastore)
    assert scoring.disagreements()["a"] != before["a"]
    assert scoring.disagreements()["b"] == before["b"]


def test_scored_images_are_limited_and_replaced_as_they_are_labelled(start, datastore):
    scoring = start(max_images=1)
    (first,) = scoring.due(datastore)
    score_all(scoring, datastore)
    assert scoring.due(datastore) == []
    datastore.label(first, "1")
    assert scoring.due(datastore) == [{"a": "b", "b": "a"}[first]]
    assert start(max_images=0).due(datastore) == []


def test_without_weights_nothing_is_scored(info, datastore, tmp_path):
    none = ModelStore(tmp_path / "none")
    scoring = UncertaintyScoring("uncertainty", serving_predictor(info, none), none, tmp_path / "scores", max_images=10)
    assert scoring.due(datastore) == []


@pytest.mark.parametrize("error", [UserError("There is no a."), KeyError("a")])
def test_unreadable_image_does_not_block_others(error, start, datastore, caplog, monkeypatch):
    scoring, image_of = start(), datastore.get_image_uri

    def image(name):
        if name == "a":
            raise error
        return image_of(name)

    monkeypatch.setattr(datastore, "get_image_uri", image)
    score_all(scoring, datastore)
    assert f"Image a cannot be scored: {type(error).__name__}: {error}" in caplog.text
    assert set(scoring.uncertainties()) == {"b"}
    assert scoring.due(datastore) == []


def test_background_scores_one_image_at_a_time_and_yields_to_users_and_trainings(start, datastore):
    training = []
    yield_to_users = YieldToUsers(lambda: bool(training))
    scoring = start()
    background = BackgroundScoring(scoring, datastore, yield_to_users)
    with yield_to_users.user_waiting():
        assert not background.run_once()
    training.append("runs")
    assert not background.run_once()
    assert scoring.uncertainties() == {}
    training.clear()
    assert background.run_once()
    assert len(scoring.uncertainties()) == 1
    assert background.run_once()
    assert not background.run_once()


def test_running_scoring_pauses_while_a_user_waits(info, models, datastore, tmp_path):
    yield_to_users = YieldToUsers(lambda: False)
    scoring = UncertaintyScoring(
        "uncertainty",
        serving_predictor(info, models),
        models,
        tmp_path / "scores",
        max_images=10,
        before_each_batch=yield_to_users.wait,
    )
    with yield_to_users.user_waiting():
        thread = threading.Thread(target=scoring.score, args=("a", datastore), daemon=True)
        thread.start()
        thread.join(1)
        assert scoring.uncertainties() == {}
    thread.join()
    assert set(scoring.uncertainties()) == {"a"}


def test_work_with_a_limit_continues_however_busy_the_users_are():
    """An inference on a whole scan ends, too, while ten readers click without a pause."""
    yield_to_clicks = YieldToUsers(lambda: True)
    begun = time.monotonic()
    yield_to_clicks.wait(longest=0.1)
    assert 0.1 <= time.monotonic() - begun < 10


def test_only_the_scoring_thread_is_limited_to_one_core():
    counts = []

    def limited():
        compute_on_one_core()
        counts.append(torch.get_num_threads())

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for target in (limited, lambda: counts.append(torch.get_num_threads())):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
        assert [*counts, torch.get_num_threads()] == [1, 3, 3]
    finally:
        torch.set_num_threads(before)


def test_workers_that_start_at_once_leave_all_cores_to_the_others(monkeypatch):
    counts, set_num_threads, before = [], torch.set_num_threads, torch.get_num_threads()

    def slowly(count):
        set_num_threads(count)
        time.sleep(0.1 * (count == 1))

    torch.set_num_threads(3)
    monkeypatch.setattr(torch, "set_num_threads", slowly)
    try:
        workers = [threading.Thread(target=compute_on_one_core) for _ in range(2)]
        for thread in workers:
            thread.start()
        for thread in workers:
            thread.join()
        other = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert counts == [3]
    finally:
        set_num_threads(before)


class Cluster:
    """A cluster whose worker is this process, until it is away."""

    def __init__(self):
        self.computed = 0
        self.away = False

    def places(self):
        return 0 if self.away else 2

    def run(self, function, *arguments):
        self.computed += 1
        if self.computed == 2:
            self.away = True
            raise ClusterAwayError
        return function(*pickle.loads(pickle.dumps(arguments)))

    def close(self):
        self.away = True


def test_cluster_makes_the_same_scores_and_the_server_those_it_lost(start, datastore, info, models, tmp_path):
    here = start()
    score_all(here, datastore)
    batches, cluster = [], Cluster()
    scoring = UncertaintyScoring(
        "uncertainty",
        serving_predictor(info, models),
        models,
        tmp_path / "of the cluster",
        max_images=10,
        before_each_batch=lambda: batches.append(1),
        cluster=cluster,
    )
    worker = BackgroundScoring(scoring, datastore, YieldToUsers(busy=lambda: not cluster.away))
    assert worker.run_once()
    assert len(scoring.uncertainties()) == 1
    assert not batches
    assert worker.run_once()
    assert scoring.uncertainties() == pytest.approx(here.uncertainties())
    assert batches
    assert not worker.run_once()
