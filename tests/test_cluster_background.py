"""Work of the server on a cluster: the same results as without it, also if it dies in the middle."""

from pathlib import Path

import pytest

from lib.cluster.background import BackgroundCluster
from lib.errors import UserError
from lib.inference import ModelDescription, Predictor, WeightsContent, WeightsFile
from lib.publishing.measurement import Elsewhere, measure
from lib.trainers.candidate import Candidate
from lib.trainers.second_stage import candidate_predictors, keep_outputs
from tests.support.dask_nodes import Nodes, dask_nodes
from tests.support.train_task import labelled_chests
from tools.support.waiting import wait_for

pytest.importorskip("distributed", reason="Dask is not installed: pip install -e .[cluster]")
pytestmark = pytest.mark.slow


class MortalCluster(BackgroundCluster):
    """A cluster whose scheduler dies after some tasks."""

    def __init__(self, nodes: Nodes) -> None:
        super().__init__(nodes.address)
        self.nodes = nodes
        self.left: int | None = None
        wait_for(self.places, "the worker", seconds=120)

    def run(self, function, *arguments):
        if self.left == 0:
            self.nodes.scheduler.kill()
            self.nodes.scheduler.wait()
        result = super().run(function, *arguments)
        self.left = None if self.left is None else self.left - 1
        return result


@pytest.fixture
def cluster(tmp_path):
    with dask_nodes(tmp_path / "dask") as nodes:
        cluster = MortalCluster(nodes)
        yield cluster
        cluster.close()


@pytest.fixture
def weights(store) -> Path:
    return store.weights(store.manifests()[0]["version"])


@pytest.fixture
def computed_here(monkeypatch) -> list[int]:
    """Return a list that grows with each run of a network in this process."""
    found = []
    run = Predictor.run
    monkeypatch.setattr(Predictor, "run", lambda *one, **options: found.append(1) or run(*one, **options))
    return found


def test_gate_measures_on_the_cluster_and_here_when_it_dies(info, weights, cluster, computed_here, tmp_path):
    """With the weights of each fold, and what the candidate's networks returned."""
    cases, folds = labelled_chests(tmp_path / "labelled", (1, 2, 3), lesions=3), {"1.2.1": 0, "1.2.2": 1, "1.2.3": 0}
    model = ModelDescription.from_info(info)
    sources = {0: WeightsFile(weights), 1: WeightsContent(weights.read_bytes(), "a version")}
    here = measure(sources, folds, cases, model)
    halved = measure(sources, folds, cases, model, tmp_path / "outputs-here")
    assert sum(one.marked_voxels for one in here.values()) > 0
    computed_here.clear()

    elsewhere, outputs = Elsewhere(cluster, tmp_path / "run"), tmp_path / "outputs"
    candidate = Candidate(weights, {0: weights, 1: weights}, folds, {"1.2.1": 0})
    keep_outputs(cases, candidate, model, outputs, elsewhere)
    predictor = candidate_predictors(candidate, weights, model, outputs)("1.2.1")
    predictor.run(predictor.read({"image": Path(cases[0]["image"])}))
    assert measure(sources, folds, cases, model, outputs, elsewhere) == halved
    assert len(computed_here) == 0

    cluster.left = 1
    assert measure(sources, folds, cases, model, None, elsewhere) == here
    assert len(computed_here) == 2


def test_weights_that_changed_are_not_used_elsewhere(info, weights, tmp_path):
    pinned = WeightsFile(weights).pinned(tmp_path)
    model = ModelDescription.from_info(info)
    Predictor(model, pinned).load()
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(UserError, match="have changed since they were chosen"):
        Predictor(model, pinned).load()
