"""The main workflow against the real server: a folder as input, masks, labels, and a retrained model."""

import hashlib
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
import SimpleITK as sitk
import torch

from lib.networks.weights import state_of
from lib.phantoms import DemoSeries
from lib.publishing import ModelStore
from tests.conftest import PhantomStudies
from tests.support.client import (
    FAST_TRAINING,
    detail,
    infer,
    put_label,
    response_volume,
    same_grid,
    serve,
    serve_kept_version,
    train,
    train_stats,
    versions_shown,
)
from tools.support.processes import ServerProcess
from tools.support.waiting import wait_for


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def server(start_module_server, phantom_studies) -> ServerProcess:
    return start_module_server(phantom_studies.directory, rescan_seconds=1, scored_images=0, views=1)


@pytest.fixture(scope="module")
def thick(phantom_studies) -> DemoSeries:
    """Return the series with the fewest slices, which are segmented in half the time."""
    return min(phantom_studies.series, key=lambda series: series.acquisition.shape[0])


def test_every_series_of_the_folder_is_an_image(server, phantom_studies):
    found = requests.get(f"{server.url}/datastore/", params={"output": "all"}).json()["objects"]
    assert set(found) == {series.series_uid for series in phantom_studies.series}
    series = phantom_studies.series[0]
    info = found[series.series_uid]["image"]["info"]
    assert info["PatientID"] == series.patient_id
    assert info["StudyInstanceUID"] == series.study_uid
    assert info["Modality"] == "CT"


def test_image_is_sent_as_a_volume(server, phantom_studies, tmp_path):
    series = phantom_studies.series[0]
    response = requests.get(f"{server.url}/datastore/image", params={"image": series.series_uid})
    image = response_volume(response, tmp_path / "image.nrrd")
    assert same_grid(image, sitk.ReadImage(str(series.truth)))


def test_inference_without_weights_is_409(server, phantom_studies):
    response = infer(server, phantom_studies.series[0].series_uid)
    assert response.status_code == 409
    assert "no trained model" in detail(response)


def test_r15_full_disk_is_507(server, phantom_studies):
    """R15: when the cache has no room for the volume, as when a label cannot be stored."""
    uid = phantom_studies.of_patient("LUNG-004").series_uid
    full = (100_000, resource.RLIM_INFINITY)  # maximum size of a file in bytes
    before = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, full)
    try:
        response = infer(server, uid)
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)
    assert response.status_code == 507
    assert "cannot write to its disk" in detail(response)


def test_training_without_labels_is_refused(server):
    response = requests.post(f"{server.url}/train/lung_tumor")
    assert response.status_code == 409
    assert "no image is labelled" in detail(response)


@pytest.mark.parametrize("image", ["/etc/passwd", "../x", "main.py", "nonsense", ".", "1.2.3"])
def test_paths_and_unknown_ids_are_refused_by_every_route(server, image, phantom_studies, tmp_path):
    (tmp_path / "label.bin").write_bytes(b"\x00")
    responses = [
        infer(server, image),
        infer(server, phantom_studies.series[0].series_uid, image=image, model=image),
        put_label(server, image, tmp_path / "label.bin"),
        requests.get(f"{server.url}/datastore/image", params={"image": image}),
        requests.get(f"{server.url}/datastore/image/info", params={"image": image}),
        requests.get(f"{server.url}/datastore/label", params={"label": image, "tag": "final"}),
        requests.get(f"{server.url}/datastore/label", params={"label": image, "tag": "../.."}),
        requests.put(f"{server.url}/datastore/image", params={"image": image}, files={"file": ("x.nii.gz", b"x")}),
        requests.put(f"{server.url}/datastore/", params={"image": image}, files={"file": ("x.nii.gz", b"x")}),
        requests.delete(f"{server.url}/datastore/image", params={"id": image}),
    ]
    for response in responses:
        assert 400 <= response.status_code < 500, (response.request.url, response.text)
        assert detail(response)
    for limit in ("9" * 5000, "²", "-1"):
        answer = requests.get(f"{server.url}/proxy/dicom/qido/studies", params={"limit": limit})
        assert answer.status_code == 400
        assert "must be a number" in detail(answer)
    for closed in ("infer/wsi/lung_tumor", "infer/wsi_v2/lung_tumor", "reload", "proxy/dicom"):
        answer = requests.post(f"{server.url}/{closed}", params={"image": image}, data={"wsi": "{}"})
        assert answer.status_code == 404, answer.text
        assert detail(answer) == f"This app has no /{closed}."


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".bin"])
def test_label_is_returned_voxel_for_voxel(server, phantom_studies, tmp_path, suffix):
    series = phantom_studies.of_patient("LUNG-003")
    truth = sitk.ReadImage(str(series.truth), sitk.sitkUInt8)
    path = tmp_path / f"label{suffix}"
    if suffix == ".bin":
        sitk.GetArrayFromImage(truth).tofile(path)
    else:
        sitk.WriteImage(truth, str(path))
    assert put_label(server, series.series_uid, path, tag="draft").status_code == 200
    response = requests.get(f"{server.url}/datastore/label", params={"label": series.series_uid, "tag": "draft"})
    back = response_volume(response, tmp_path / "back.nii.gz")
    assert same_grid(back, truth)
    assert np.array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(truth))


def test_invalid_label_is_refused_and_not_stored(server, phantom_studies, tmp_path):
    series = phantom_studies.of_patient("LUNG-002")
    other = phantom_studies.of_patient("LUNG-004")
    (tmp_path / "junk.nii.gz").write_bytes(b"junk")
    (tmp_path / "short.bin").write_bytes(b"\x01" * 7)
    refused = [
        put_label(server, series.series_uid, tmp_path / "junk.nii.gz"),
        put_label(server, series.series_uid, tmp_path / "short.bin"),
        put_label(server, series.series_uid, other.truth),
        put_label(server, series.series_uid, series.truth, tag="../../escaped"),
    ]
    for response in refused:
        assert response.status_code == 400, response.text
        assert detail(response)
    answer = requests.get(f"{server.url}/datastore/label", params={"label": series.series_uid, "tag": "final"})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"threshold": 7}, "threshold"),
        ({"batch_size": "many"}, "batch_size"),
        ({"result_extension": ".exe"}, "result_extension"),
    ],
)
def test_invalid_inference_parameters_are_refused(server, phantom_studies, tmp_path, request_, sentence):
    """Runs first with the training, so that the invalid requests reach a working model."""
    trained_server(server, phantom_studies)
    response = infer(server, phantom_studies.series[0].series_uid, **request_)
    assert response.status_code == 400
    assert sentence in detail(response)


_trained: set[str] = set()


def trained_server(server: ServerProcess, studies: PhantomStudies) -> ServerProcess:
    """Label two patients and train once."""
    if server.url not in _trained:
        for patient in ("LUNG-001", "LUNG-006"):
            series = studies.of_patient(patient)
            assert put_label(server, series.series_uid, series.truth).status_code == 200
        train(server)
        serve_kept_version(server)
        _trained.add(server.url)
    return server


def test_new_model_is_used_without_a_restart(server, phantom_studies, thick, tmp_path):
    trained_server(server, phantom_studies)
    truth = sitk.ReadImage(str(thick.truth))
    mask = response_volume(infer(server, thick.series_uid, result_extension=".nrrd"), tmp_path / "mask.nrrd")
    assert same_grid(mask, truth)
    assert mask.GetPixelID() == sitk.sitkUInt8

    def attention() -> np.ndarray:
        # After seconds of training both masks may be empty; the attention maps still differ.
        answer = infer(server, thick.series_uid, result_extension=".nrrd", attention=True)
        return sitk.GetArrayFromImage(response_volume(answer, tmp_path / "attention.nrrd"))

    version, before = requests.get(f"{server.url}/info/").json()["model_version"], attention()
    assert np.array_equal(before, attention())
    train(server, max_epochs=1)
    assert requests.get(f"{server.url}/info/").json()["model_version"] == version, "C9: unmeasured, so not used"
    serve_kept_version(server)
    assert requests.get(f"{server.url}/info/").json()["model_version"] != version
    assert not np.array_equal(before, attention())


def test_all_output_formats_of_infer(server, phantom_studies, thick, tmp_path):
    """The inference is computed once, unless a request wants it afresh."""
    trained_server(server, phantom_studies)
    uid = thick.series_uid
    as_json = infer(server, uid, output="json").json()
    assert as_json["label_names"] == {"lung_tumor": 1}
    everything = infer(server, uid, output="all")
    assert everything.headers["content-type"].startswith("multipart/form-data")
    assert everything.headers["Server-Timing"].endswith(", kept")
    kept, computed = (infer(server, uid, result_extension=".nrrd", fresh=fresh) for fresh in (False, True))
    assert kept.headers["Infer-Params"] == computed.headers["Infer-Params"]
    assert ["kept" in one.headers["Server-Timing"] for one in (kept, computed)] == [True, False]
    one, other = (response_volume(answer, tmp_path / "mask.nrrd") for answer in (kept, computed))
    assert same_grid(one, other)
    assert np.array_equal(*map(sitk.GetArrayFromImage, (one, other)))
    assert infer(server, uid, crf=True).status_code == 200


def test_progress_of_an_inference_is_told_until_it_ends(server, phantom_studies, thick):
    trained_server(server, phantom_studies)

    def share() -> float | None:
        query = {"image": thick.series_uid}
        return requests.get(f"{server.url}/viewer/inference", params=query, timeout=60).json()["share"]

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(infer, server, thick.series_uid, fresh=True, views=4)
        wait_for(lambda: (share() or 0) > 0 or running.done(), "the first slices", seconds=120, interval=0.01)
        assert not running.done()
        assert running.result(timeout=120).status_code == 200
    assert share() is None


def test_uploaded_image_is_segmented_on_its_own_grid(server, phantom_studies, thick, tmp_path):
    trained_server(server, phantom_studies)
    image = requests.get(f"{server.url}/datastore/image", params={"image": thick.series_uid}).content
    response = requests.post(
        f"{server.url}/infer/lung_tumor", params={"output": "image"}, files={"file": ("chest.nrrd", image)}
    )
    mask = response_volume(response, tmp_path / "mask.nii.gz")
    assert same_grid(mask, sitk.ReadImage(str(thick.truth)))
    response = requests.post(f"{server.url}/infer/lung_tumor", files={"file": ("chest.nrrd", b"no image")})
    assert response.status_code == 400
    assert "cannot be read as an image" in detail(response)


def test_stopped_training_publishes_nothing(server, phantom_studies):
    trained_server(server, phantom_studies)
    version = requests.get(f"{server.url}/info/").json()["model_version"]
    requests.post(f"{server.url}/train/lung_tumor", json={**FAST_TRAINING, "max_epochs": 1000})
    task = f"{server.url}/train/"
    wait_for(lambda: requests.get(task).json()["status"] != "SUBMITTED", "the start of the training", seconds=300)
    again = requests.post(f"{server.url}/train/lung_tumor", json=FAST_TRAINING)
    assert again.status_code == 429
    requests.delete(f"{server.url}/train/")
    assert requests.get(f"{server.url}/train/").json()["status"] == "STOPPED"
    assert requests.get(f"{server.url}/info/").json()["model_version"] == version


def test_next_sample_is_not_labelled_yet(server, phantom_studies):
    trained_server(server, phantom_studies)
    labelled = {phantom_studies.of_patient(patient).series_uid for patient in ("LUNG-001", "LUNG-006")}
    for strategy in ("random", "first"):
        sample = requests.post(f"{server.url}/activelearning/{strategy}", json={}).json()
        assert sample["id"] not in labelled
        for name in ("Modality", "StudyDate", "StudyTime", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"):
            assert sample[name]
    assert requests.post(f"{server.url}/activelearning/nonsense", json={}).status_code == 400


def test_new_series_is_found_and_the_folder_is_not_modified(start_server, phantom_studies, tmp_path):
    import shutil

    folder = tmp_path / "dicom"
    first, second = phantom_studies.series[0], phantom_studies.series[1]
    shutil.copytree(first.directory, folder / "one")
    server = start_server(folder, rescan_seconds=0.5)
    before = fingerprint(folder)
    assert requests.get(f"{server.url}/info/").json()["datastore"]["total"] == 1
    assert put_label(server, first.series_uid, first.truth).status_code == 200
    requests.get(f"{server.url}/datastore/image", params={"image": first.series_uid})
    assert fingerprint(folder) == before
    shutil.copytree(second.directory, folder / "two")
    # While it is partly copied, a series has a warning; once complete, none.
    both = {"total": 2, "completed": 1, "label_tags": {"final": 1}, "left_out": 0, "with_warnings": 0}
    info = f"{server.url}/info/"
    wait_for(lambda: requests.get(info).json()["datastore"] == both, f"{both} in /info/", seconds=120)
    studies = requests.get(f"{server.url}/proxy/dicom/qido/studies").json()
    assert len(studies) == 2


def test_cross_origin_requests_are_not_allowed(server):
    answer = requests.get(f"{server.url}/info/", headers={"Origin": "http://elsewhere.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_s7_u28_uploaded_weights_are_kept_and_used_on_request(server, phantom_studies, tmp_path):
    """S7: an upload is checked; U28: it is stored in the workspace and not in the app folder."""
    trained_server(server, phantom_studies)
    version = requests.get(f"{server.url}/info/").json()["model_version"]
    weights = requests.get(f"{server.url}/model/lung_tumor").content
    state = state_of(weights)
    state["head.conv.bias"] *= float("nan")
    torch.save(state, tmp_path / "nan.pt")
    for content, reason in ((b"junk", "cannot be read"), ((tmp_path / "nan.pt").read_bytes(), "not finite")):
        answer = requests.put(f"{server.url}/model/lung_tumor", files={"file": ("model.pt", content)})
        assert answer.status_code == 400
        assert "no usable weights of this network" in detail(answer)
        assert reason in detail(answer)
    answer = requests.put(f"{server.url}/model/lung_tumor", files={"file": ("model.pt", weights)})
    assert answer.status_code == 200, answer.text
    kept = answer.json()["version"]
    assert f"serve?version={kept}" in detail(answer)
    shown = versions_shown(server.url)
    assert (shown["in_use"], shown["kept"]) == (version, {"version": kept, "verdict": "not measured"})
    assert serve(server, "nonsense").status_code == 404
    assert serve(server, kept, "Dr. Reader").json() == {"model_version": kept, "previous": version}
    assert 400 <= requests.delete(f"{server.url}/model/lung_tumor").status_code < 500
    shown = versions_shown(server.url)
    assert (shown["in_use"], shown["previous"], shown["kept"]) == (kept, version, None)
    workspace = server.log.parents[1] / "workspace"
    assert ModelStore(workspace / "models").history()[-1]["by"] == "Dr. Reader"
    assert not (server.log.parents[1] / "model").exists(), "the folder of the shipped weights is only read"


def test_s15_damaged_state_files_cause_no_500_and_do_not_prevent_training(server, phantom_studies):
    """S15: an empty serving.json caused 500 everywhere; a damaged training.json made every training fail."""
    trained_server(server, phantom_studies)
    workspace = server.log.parents[1] / "workspace"
    version = requests.get(f"{server.url}/info/").json()["model_version"]
    for name in ("models/serving.json", "models/train_stats.json", "training.json", "folds.json"):
        (workspace / name).write_text("")
    for path in ("/info/", "/viewer/status", "/status/data", "/model/info/lung_tumor"):
        assert requests.get(f"{server.url}{path}").status_code == 200, path
    info = requests.get(f"{server.url}/info/").json()
    assert info["model_version"] == version
    assert "serving.json is damaged" in info["model_problem"]
    train(server, max_epochs=1)
    assert train_stats(server)["version"] == serve_kept_version(server)
    assert requests.get(f"{server.url}/info/").json()["model_problem"] is None
    for name in ("models/serving.json", "models/train_stats.json", "training.json"):
        assert (workspace / f"{name}.damaged-1").exists(), name
