"""Scores: made once for each image, model and label; kept over a restart; nobody has to wait for them."""

import threading
from types import SimpleNamespace

import pytest
import SimpleITK as sitk
import torch

from lib.activelearning.background import BackgroundScoring, YieldToUsers, compute_on_one_core
from lib.activelearning.uncertainty_scoring import UncertaintyScoring
from lib.errors import UserError
from lib.networks import AttentionResidualUNet
from lib.phantoms import Acquisition, chest_volume, draw_lesions, write_volume
from lib.publishing import ModelStore
from lib.publishing.model_store import PRETRAINED
from tests.support.small_network import serving_predictor

GRID = Acquisition(shape=(8, 48, 48), spacing=(10.0, 7.0, 7.0))


class Datastore:
    """The part of the datastore that scoring asks for, over files of one phantom each."""

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
    """Two versions, the first of which serves."""
    store.serve(store.manifests()[0]["version"])
    return store


@pytest.fixture
def datastore(tmp_path):
    return Datastore(tmp_path / "volumes", "a", "b")


@pytest.fixture
def start(info, models, tmp_path):
    """``start()``: a server that has just begun; ``.batches`` counts its forward passes."""

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


def test_scores_are_made_once_and_survive_a_restart(start, datastore):
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


def test_another_model_scores_again_and_the_former_scores_count_meanwhile(start, datastore, models):
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


def test_weights_replaced_under_their_name_score_again(start, datastore, models, info, tmp_path):
    shipped = models.weights(PRETRAINED)
    shipped.write_bytes(models.serving_weights().read_bytes())
    models.serve(PRETRAINED)
    scoring = start()
    score_all(scoring, datastore)
    torch.manual_seed(2)
    torch.save(AttentionResidualUNet(**info["network"]).state_dict(), shipped)
    assert set(scoring.due(datastore)) == {"a", "b"}


def test_a_series_that_grew_is_scored_again(start, datastore):
    scoring = start()
    score_all(scoring, datastore)
    before = scoring.uncertainties()
    datastore.slices["a"] = 9
    datastore.write("a", 7)
    assert scoring.due(datastore) == ["a"]
    score_all(scoring, datastore)
    assert scoring.uncertainties()["a"] != before["a"]


def test_a_damaged_score_is_made_again(start, datastore, tmp_path):
    score_all(start(), datastore)
    for path in (tmp_path / "scores").rglob("a.json"):
        path.write_text("{")
    scoring = start()
    score_all(scoring, datastore)
    assert set(scoring.uncertainties()) == {"a", "b"}
    assert scoring.batches


def test_labels_are_compared_once_all_are_labelled(start, datastore, tmp_path):
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


def test_only_so_many_are_scored_and_the_next_as_labels_come(start, datastore):
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


def test_an_image_that_cannot_be_scored_keeps_no_other_from_it(start, datastore, caplog):
    scoring = start()
    datastore.slices["a"] = 9  # of which there is no volume
    score_all(scoring, datastore)
    assert "Image a cannot be scored: There is no a." in caplog.text
    assert set(scoring.uncertainties()) == {"b"}
    assert scoring.due(datastore) == []


def test_the_background_scores_one_image_at_a_time_and_pauses_while_a_user_waits(start, datastore):
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


def test_an_image_being_scored_waits_for_the_person(info, models, datastore, tmp_path):
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


def test_one_thread_computes_on_one_core_and_the_others_as_before():
    counts = []

    def slowly():
        compute_on_one_core()
        counts.append(torch.get_num_threads())

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for target in (slowly, lambda: counts.append(torch.get_num_threads())):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
        assert [*counts, torch.get_num_threads()] == [1, 3, 3]
    finally:
        torch.set_num_threads(before)
