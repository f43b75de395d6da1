"""Finished inferences are answered again as long as image, model version and settings are the same."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
import SimpleITK as sitk
from monailabel.interfaces.app import MONAILabelApp

from lib.app import MyApp
from lib.datastore.fingerprint import grid_of
from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError
from lib.inference import WeightsId
from lib.phantoms import Acquisition, write_dicom_series
from lib.server.finished_inferences import FinishedInferences
from lib.server.inference_progress import InferenceProgress
from lib.server.request_queues import RequestQueues
from lib.server.saved_masks import saved
from lib.settings import Settings
from tests.support.counting_pacs import CountingPacs, ct
from tools.support.damage import DAMAGES, damage

GRID = Acquisition(shape=(6, 16, 20), spacing=(2.5, 1, 1))
FINDINGS = [{"voxel": [3, 2, 1], "confidence": 0.9}]
ANSWER = {"voxels": 1, "model_version": "v1", "findings": FINDINGS, "warnings": ["Odd."], "latencies": {"total": 9.0}}


class Weights:
    """Source of weights that may change."""

    def __init__(self, path) -> None:
        self.id = WeightsId("v1", path, 1)

    def current(self) -> WeightsId:
        return self.id


@pytest.fixture
def weights(tmp_path) -> Weights:
    return Weights(tmp_path / "v1.pt")


@pytest.fixture
def datastore(tmp_path) -> SeriesDatastore:
    """Return a datastore with one series."""
    write_dicom_series(tmp_path / "dicom", np.zeros(GRID.shape, np.int16), GRID.affine, patient_id="P")
    settings = Settings.from_conf(str(tmp_path / "dicom"), {"workspace": str(tmp_path / "workspace")})
    client = FolderClient(tmp_path / "dicom", settings.segs_dir, settings.cache_dir / "index.sqlite")
    client.scan()
    return SeriesDatastore(client, settings)


@pytest.fixture
def finished(datastore, weights, tmp_path) -> FinishedInferences:
    defaults = {"threshold": 0.4, "views": 4, "attention": False, "batch_size": 8}
    return FinishedInferences(datastore, weights, defaults, tmp_path / "results")


@pytest.fixture
def request_(datastore) -> dict:
    return {"model": "lung_tumor", "image": datastore.list_images()[0], "client_id": "ada"}


@pytest.fixture
def mask() -> np.ndarray:
    voxels = np.zeros(GRID.shape, np.uint8)
    voxels[1, 2, 3] = 1
    return voxels


@pytest.fixture
def infer(finished, datastore, mask, tmp_path):
    """Return ``infer(request)``, which keeps an inference and returns its key."""

    def infer(request: dict, meanwhile=lambda: None, **answer):
        volume = Path(datastore.get_image_uri(request["image"]))
        key = finished.key(request, volume)
        assert key == finished.key(request), "the volume is that of the present files"
        file = tmp_path / "mask.nii.gz"
        sitk.WriteImage(sitk.GetImageFromArray(mask), str(file))
        meanwhile()
        finished.keep(key, request, {"file": str(file), "params": ANSWER | answer}, volume)
        return key

    return infer


def test_the_same_request_is_answered_with_the_same_mask(finished, datastore, infer, request_, mask):
    key = infer(request_)
    other = {**request_, "client_id": "ben", "result_extension": ".nrrd", "batch_size": 1, "device": "cpu"}
    assert finished.key(other) == key
    assert key in finished
    result = finished.result(key, other)
    image = sitk.ReadImage(result["file"])
    assert result["file"].endswith(".nrrd")
    assert np.array_equal(sitk.GetArrayFromImage(image), mask)
    assert image.GetSpacing() == (1, 1, 2.5), "the grid of the scan"
    assert not [name for name in image.GetMetaDataKeys() if "prediction" in name], "it names another client"
    assert result["params"] == {name: value for name, value in ANSWER.items() if name != "latencies"}
    grid = grid_of(Path(datastore.get_image_uri(request_["image"])))
    origin, _ = datastore.predictions.find(request_["image"], grid, client_id="ben")
    assert (origin.model_version, origin.findings) == ("v1", FINDINGS), "what a label of this client is compared with"


def test_other_settings_are_computed(finished, infer, request_):
    infer(request_)
    for changed in ({"threshold": 0.5}, {"views": 1}, {"image": "1.2.3"}):
        assert finished.key({**request_, **changed}) not in finished
    assert finished.key({**request_, "attention": True}) is None
    assert finished.key({**request_, "model": "lung_tumor_click"}) is None


def test_another_model_is_computed(finished, weights, infer, request_):
    infer(request_)
    for changed in ({"version": "v2"}, {"changed_ns": 2}):
        weights.id = replace(WeightsId("v1", weights.id.path, 1), **changed)
        assert finished.key(request_) not in finished
    weights.id = WeightsId()
    assert finished.key(request_) is None, "there are no weights"


def test_changed_files_are_computed(finished, datastore, infer, request_, tmp_path):
    infer(request_)
    file = next((tmp_path / "dicom").rglob("*.dcm"))
    os.utime(file, (1, 1))
    datastore.client.scan()
    datastore.refresh()
    assert finished.key(request_) not in finished


def test_a_model_that_changes_during_an_inference_is_not_mistaken_for_the_former(finished, weights, infer, request_):
    former = weights.id

    def change() -> None:
        weights.id = WeightsId("v2", former.path, 2)

    key = infer(request_, meanwhile=change)
    assert key not in finished
    assert finished.key(request_) not in finished


def test_a_model_that_is_in_use_only_during_an_inference_is_not_mistaken_for_the_other(finished, infer, request_):
    """Put into use, and taken back before the inference ended."""
    assert infer(request_, model_version="v2") not in finished
    assert infer(request_) in finished


def test_the_volume_of_former_files_is_not_mistaken_for_the_present_one(finished, datastore, infer, request_, tmp_path):
    """As it is segmented while a PACS does not respond."""
    key = infer(request_)
    former = Path(datastore.get_image_uri(request_["image"]))
    os.utime(next((tmp_path / "dicom").rglob("*.dcm")), (1, 1))
    datastore.client.scan()
    datastore.refresh()
    assert finished.key(request_, former) == key != finished.key(request_)


def test_warnings_about_the_series_are_those_of_now(finished, datastore, infer, request_, monkeypatch):
    app = object.__new__(MyApp)
    app.finished = finished
    monkeypatch.setattr(app, "datastore", lambda: datastore)
    assert app.infer_again(finished.key(request_), request_) is None
    key = infer(request_)
    for warning in ("Two patients.", "No patient."):
        datastore.catalog.set_warnings(request_["image"], [warning])
        expected = [*datastore.series(request_["image"]).warnings, "Odd."]
        assert app.infer_again(key, request_)["params"]["warnings"] == expected
        assert warning in expected


def test_an_unknown_device_is_refused_as_without_a_finished_inference(finished, infer, request_):
    key = infer(request_)
    with pytest.raises(UserError, match="device must be one of"):
        finished.result(key, {**request_, "device": "abacus"})


def test_a_mask_is_sent_though_the_disk_is_full(finished, datastore, infer, request_, monkeypatch):
    """Only what a label of this client is compared with is missing then."""
    key = infer(request_)

    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datastore.predictions, "keep", full)
    assert finished.result(key, {**request_, "client_id": "ben"})
    assert key in finished


def test_a_file_whose_mask_could_not_be_saved_as_a_label_is_removed(tmp_path):
    (tmp_path / "mask.nrrd").touch()
    refusing = SimpleNamespace(save_label=lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    request = {"save_label": True, "model": "lung_tumor", "image": "1.2"}
    with pytest.raises(OSError, match="No space"):
        saved(refusing, request, {"file": str(tmp_path / "mask.nrrd"), "params": {}})
    assert not [*tmp_path.iterdir()]


def test_the_files_of_a_series_are_looked_up_once_for_an_inference(tmp_path, weights, monkeypatch):
    """Each look is a request to a PACS. While it is away, the volume in the cache is segmented, and kept as such."""
    pacs = CountingPacs()
    image = ct(pacs, tmp_path)
    settings = Settings.from_conf("http://pacs/dicom-web", {"workspace": str(tmp_path / "workspace")})
    datastore = SeriesDatastore(pacs, settings)
    volume = datastore.get_image_uri(image)
    app = object.__new__(MyApp)
    app.queues, app.progress = RequestQueues(), InferenceProgress()
    app.finished = FinishedInferences(datastore, weights, {"attention": False}, tmp_path / "results")
    monkeypatch.setattr(app, "datastore", lambda: datastore)
    monkeypatch.setattr(app, "_was_uploaded", lambda image: False)

    def run(app: MONAILabelApp, request: dict, datastore: object = None) -> dict:
        assert request["image"] == volume
        sitk.WriteImage(sitk.ReadImage(volume) * 0, str(tmp_path / "mask.nrrd"))
        return {"file": str(tmp_path / "mask.nrrd"), "params": {**ANSWER}}

    monkeypatch.setattr(MONAILabelApp, "infer", run)
    request = {"model": "lung_tumor", "image": image}
    pacs.calls.clear()
    app.infer(request)
    assert pacs.calls == {"search_for_instances": 1}
    assert app.finished.key(request) in app.finished

    app.finished = FinishedInferences(datastore, weights, {"attention": False}, tmp_path / "results")
    with monkeypatch.context() as away:
        away.setattr(pacs, "search_for_instances", lambda *_, **__: (_ for _ in ()).throw(requests.ConnectionError()))
        app.infer(request)
    assert app.finished.key(request) in app.finished


@pytest.mark.parametrize("kind", [*DAMAGES, "gone"])
def test_a_damaged_mask_is_computed_again(finished, datastore, infer, request_, mask, kind):
    key = infer(request_)
    (path,) = datastore.predictions._folder.rglob("*.nrrd")
    if kind == "gone":
        path.unlink()
    else:
        damage(path, kind)
    result = finished.result(key, request_)
    if result is None:
        assert key not in finished
    else:  # the damage changed nothing that counts
        assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(result["file"])), mask)
