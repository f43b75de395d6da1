"""Work of the server on a cluster: the same results as without it, also if it dies in the middle."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from lib.activelearning.background import YieldToUsers
from lib.clicks.model import ClickModel
from lib.cluster import background
from lib.cluster.background import BackgroundCluster, ClusterAwayError
from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError
from lib.inference import ModelDescription, Predictor, WeightsContent, WeightsFile
from lib.infers import LungTumorInferTask
from lib.phantoms import chest_volume, draw_lesions, write_dicom_series
from lib.publishing import click_measurement
from lib.publishing.click_measurement import measure_clicks
from lib.publishing.measurement import Elsewhere, measure
from lib.server.finished_inferences import FinishedInferences
from lib.server.inference_ahead import InferenceAhead
from lib.settings import Settings
from lib.trainers.candidate import Candidate
from lib.trainers.second_stage import candidate_predictors, keep_outputs
from tests.support.dask_nodes import Nodes, dask_nodes
from tests.support.small_network import serving_predictor
from tests.support.train_task import GRID, labelled_chests
from tools.support.waiting import wait_for

pytest.importorskip("distributed", reason="Dask is not installed: pip install -e .[cluster]")
pytestmark = pytest.mark.slow

OPEN = YieldToUsers(busy=lambda: False)
BUSY = YieldToUsers(busy=lambda: True)


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


def test_gate_of_the_model_for_clicks_measures_on_the_cluster_and_here_when_it_dies(
    info, cluster, monkeypatch, tmp_path
):
    info["clicks"] = {"channels": [4, 8], "cube_voxels": 16, "cube_voxel_mm": 4.0}
    model, weights = ClickModel.from_info(info), tmp_path / "clicks.pt"
    torch.manual_seed(0)
    torch.save({"model": model.network().state_dict()}, weights)
    cases, folds = labelled_chests(tmp_path / "labelled", (1, 2, 3), lesions=3), {"1.2.1": 0, "1.2.2": 1, "1.2.3": 0}
    sources = {0: WeightsFile(weights), 1: WeightsContent(weights.read_bytes(), "a version")}
    here = measure_clicks(sources, folds, cases, model)
    assert here.keys() == folds.keys()

    measured_here = []
    score = click_measurement.score_clicks
    monkeypatch.setattr(click_measurement, "score_clicks", lambda *one: measured_here.append(1) or score(*one))
    elsewhere = Elsewhere(cluster, tmp_path / "run")
    assert measure_clicks(sources, folds, cases, model, elsewhere) == here
    assert len(measured_here) == 0
    cluster.left = 1
    assert measure_clicks(sources, folds, cases, model, elsewhere) == here
    assert len(measured_here) == 2


def test_weights_that_changed_are_not_used_elsewhere(info, weights, tmp_path):
    pinned = WeightsFile(weights).pinned(tmp_path)
    model = ModelDescription.from_info(info)
    Predictor(model, pinned).load()
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(UserError, match="have changed since they were chosen"):
        Predictor(model, pinned).load()


@pytest.fixture
def ahead_of(info, store, tmp_path):
    """Return a function that makes the worker of a server on a folder with three chests."""
    for seed, date in enumerate(("20260101", "20260301", "20260201")):
        hu, _, affine = chest_volume(seed, lesions=draw_lesions(seed, 2, diameters=(20, 40)), acquisition=GRID)
        write_dicom_series(tmp_path / "dicom" / f"P{seed}", hu, affine, patient_id=f"P{seed}", study_date=date)
    store.serve(store.manifests()[0]["version"])

    def make(yield_to_users, cluster=None, when="20-6", **choice):
        settings = Settings.from_conf(str(tmp_path / "dicom"), {"workspace": str(tmp_path / "workspace")})
        info["config"]["ahead"] |= {"infer_ahead": when, **choice}
        settings = dataclasses.replace(settings, info=info)
        client = FolderClient(tmp_path / "dicom", settings.segs_dir, settings.cache_dir / "index.sqlite")
        client.scan()
        datastore = SeriesDatastore(client, settings)
        datastore.list_images()
        predictor = serving_predictor(info, store)
        finished = FinishedInferences(datastore, predictor.weights, info["config"]["infer"], settings.results_dir)
        hours = iter((12, *[23] * 20))
        ahead = InferenceAhead(
            finished, datastore, predictor, settings, yield_to_users, cluster, hour=lambda: next(hours)
        )
        task = LungTumorInferTask(predictor, info, settings.results_dir)
        return ahead, datastore, finished, task

    return make


def finished_masks(finished, datastore) -> dict[str, np.ndarray]:
    """Return the masks that requests get at once, by StudyDate."""
    masks = {}
    for image in datastore.list_images():
        request = {"model": "lung_tumor", "image": image}
        if result := finished.result(finished.key(request), request):
            assert result["params"]["model_version"]
            date = datastore.series(image).value("StudyDate")
            masks[date] = sitk.GetArrayFromImage(sitk.ReadImage(result["file"]))
    return masks


def test_masks_are_there_ahead_from_the_cluster_and_from_here_when_it_dies(ahead_of, cluster, computed_here):
    """While users wait, only the cluster computes; the newest image comes first."""
    cluster.left = 1
    ahead, datastore, finished, task = ahead_of(BUSY, cluster)
    assert not ahead.run_once(), "not at noon"
    assert ahead.run_once()
    assert [*finished_masks(finished, datastore)] == ["20260301"]
    assert not ahead.run_once(), "the cluster died"
    assert not ahead.run_once(), "a user waits"
    assert not computed_here
    ahead._yield_to_users = OPEN
    assert [ahead.run_once() for _ in range(3)] == [True, True, False]
    assert len(computed_here) == 2
    masks = finished_masks(finished, datastore)
    for image in datastore.list_images():
        file, _ = task({"image": datastore.get_image_uri(image)})
        expected = sitk.GetArrayFromImage(sitk.ReadImage(file))
        assert expected.any()
        assert np.array_equal(masks[datastore.series(image).value("StudyDate")], expected)


def test_masks_are_computed_ahead_for_as_many_images_as_are_wanted(ahead_of, store):
    """Again for another version, and none that cannot be segmented is tried twice."""
    ahead, datastore, finished, _ = ahead_of(OPEN, when="idle", infer_ahead_images=1)
    assert [ahead.run_once(), ahead.run_once()] == [True, False]
    assert [*finished_masks(finished, datastore)] == ["20260301"]
    store.serve(store.manifests()[1]["version"])
    assert not finished_masks(finished, datastore)
    assert [ahead.run_once(), ahead.run_once()] == [True, False]
    assert [*finished_masks(finished, datastore)] == ["20260301"]
    ahead._task = lambda request: (_ for _ in ()).throw(UserError("no"))
    store.serve(store.manifests()[0]["version"])
    ahead._finished._found.clear()
    assert [ahead.run_once(), ahead.run_once()] == [True, False]
    assert not finished_masks(finished, datastore)


def test_a_worker_with_another_version_of_the_app_computes_nothing(monkeypatch, caplog):
    """Its masks and scores could differ from those of the server."""

    class Client:
        def submit(self, function, *arguments, **_):
            monkeypatch.setattr(background, "__version__", "0.0.1")  # that of the worker
            return SimpleNamespace(result=lambda timeout: function(*arguments))

    cluster = BackgroundCluster("tls://scheduler:8786")
    monkeypatch.setattr(cluster, "_connect", lambda address: Client())
    with pytest.raises(ClusterAwayError):
        cluster.run(abs, -1)
    assert "A worker has version 0.0.1 of the app" in caplog.text
