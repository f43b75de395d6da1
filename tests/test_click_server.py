"""``POST /infer/lung_tumor_click`` on a real server, also by the client that 3D Slicer loads."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
import SimpleITK as sitk

from lib.cli import main
from lib.publishing.stores import CLICKS, SHIPPED_FILES
from lib.settings import APP_DIR
from tests.support.client import finished_task, put_label
from tools.support.waiting import wait_for

_CLIENT = Path(sys.prefix) / "monailabel" / "plugins" / "slicer" / "MONAILabel" / "MONAILabelLib" / "client.py"


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """Return a folder with the shipped weights of this model alone."""
    folder = tmp_path_factory.mktemp("model")
    (folder / SHIPPED_FILES[CLICKS]).symlink_to(APP_DIR / "model" / SHIPPED_FILES[CLICKS])
    return folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def server(start_module_server, phantom_studies, model_dir, workspace):
    return start_module_server(phantom_studies.directory, scored_images=0, model_dir=model_dir, workspace=workspace)


@pytest.fixture(scope="module")
def case(server, phantom_studies):
    """Return a series that the server has read completely, and the mask of its lesions (slice, row, column)."""
    series = phantom_studies.of_patient("LUNG-001")
    volume = {"url": f"{server.url}/datastore/image", "params": {"image": series.series_uid}, "timeout": 60}
    wait_for(lambda: requests.get(**volume).ok, "the volume", seconds=120)
    return series.series_uid, sitk.ReadImage(str(series.truth), sitk.sitkUInt8)


def infer(server, uid, params, **query):
    query = {"image": uid, **query}
    return requests.post(
        f"{server.url}/infer/lung_tumor_click", params=query, data={"params": json.dumps(params)}, timeout=120
    )


def lesion_voxel(truth: sitk.Image) -> list[int]:
    """Return the voxel in the middle of the only lesion: column, row, slice."""
    places = np.argwhere(sitk.GetArrayViewFromImage(truth))
    return places[len(places) // 2][::-1].tolist()


def test_region_is_the_lesion_under_the_click(server, case):
    uid, truth = case
    answer = infer(server, uid, {"foreground": [lesion_voxel(truth)], "region": True})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    region, mask = body["region"], sitk.GetArrayFromImage(truth) > 0
    found = np.repeat(np.arange(len(region["runs"])) % 2 == 1, region["runs"]).reshape(region["size"][::-1])
    column, row, slice_ = region["offset"]
    placed = np.zeros_like(mask)
    placed[tuple(slice(a, a + n) for a, n in zip((slice_, row, column), found.shape, strict=True))] = found
    assert (placed & mask).sum() / (placed | mask).sum() > 0.5
    assert body["voxels"] == found.sum()
    assert body["model_version"] == "pretrained"
    assert body["warnings"] == []
    assert "file" not in body

    again = infer(server, uid, {"foreground": [lesion_voxel(truth)], "region": True, "former": region})
    assert again.status_code == 200, again.text
    assert again.elapsed.total_seconds() < 10


def test_preview_is_the_answer_to_the_click(server, case):
    uid, truth = case
    params = {"foreground": [lesion_voxel(truth)], "region": True}
    preview, answer = infer(server, uid, {**params, "preview": True}), infer(server, uid, params)
    assert preview.status_code == 200, preview.text
    assert preview.json() == answer.json()


def test_image_is_prepared_for_clicks(server, case):
    uid, _ = case
    url = f"{server.url}/viewer/prepare"
    assert requests.post(url, params={"image": uid}, timeout=120).json() == {"image": uid, "problem": None}
    unknown = requests.post(url, params={"image": "1.2.3"}, timeout=120).json()
    assert "There is no image '1.2.3'" in unknown["problem"]


def test_clicks_are_stored_with_the_label_they_led_to(server, case):
    uid, truth = case
    click = {"lesion": 1, "kind": "foreground", "points": [lesion_voxel(truth)], "model_version": "pretrained"}
    for params, expected in (({"clicks": [click]}, [click]), ({"clicks": []}, []), ({}, None)):
        answer = requests.put(
            f"{server.url}/datastore/label",
            params={"image": uid},
            data={"params": json.dumps(params)},
            files={"label": ("label.bin", sitk.GetArrayFromImage(truth).tobytes())},
            timeout=120,
        )
        assert answer.status_code == 200, answer.text
        info = requests.get(f"{server.url}/datastore/label/info", params={"label": uid, "tag": "final"}, timeout=120)
        assert info.json().get("clicks") == expected


def test_slicer_lists_the_model_and_gets_the_mask_on_the_grid_of_the_image(server, case, tmp_path):
    spec = importlib.util.spec_from_file_location("slicer_client", _CLIENT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    client = module.MONAILabelClient(server.url, str(tmp_path), client_id="reader")
    model = client.info()["models"]["lung_tumor_click"]
    assert model["type"] == "deepgrow"
    assert model["dimension"] == 3, "so that Slicer sends all points, not those of one slice"
    uid, truth = case
    params = {"label": "lung_tumor", "foreground": [lesion_voxel(truth)], "background": []}
    file, answer = client.infer("lung_tumor_click", uid, params)
    found = sitk.ReadImage(file)
    volume = tmp_path / "image.nrrd"
    volume.write_bytes(requests.get(f"{server.url}/datastore/image", params={"image": uid}, timeout=120).content)
    image = sitk.ReadImage(str(volume))
    for what in ("GetSize", "GetOrigin", "GetSpacing", "GetDirection"):
        assert getattr(found, what)() == pytest.approx(getattr(image, what)(), abs=1e-5)
    mask, lesion = sitk.GetArrayFromImage(found) > 0, sitk.GetArrayFromImage(truth) > 0
    assert (mask & lesion).sum() / (mask | lesion).sum() > 0.5
    assert answer["voxels"] == mask.sum()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "Nothing says where the lesion is"),
        ({"foreground": [[9999, 0, 0]]}, "outside the image"),
        ({"foreground": [["a", 0, 0]]}, "three finite numbers"),
        ({"foreground": [[1, 1, 1]], "region": "yes"}, "region must be true or false"),
        ({"foreground": [[1, 1, 1]], "preview": "yes"}, "preview must be true or false"),
        ({"foreground": [[1, 1, 1]], "result_extension": ".exe"}, "result_extension must be one of"),
    ],
)
def test_invalid_requests_get_a_sentence(server, case, params, message):
    answer = infer(server, case[0], params)
    assert answer.status_code == 400
    assert message in answer.json()["detail"]


def test_nan_is_no_json(server, case):
    answer = requests.post(
        f"{server.url}/infer/lung_tumor_click",
        params={"image": case[0]},
        data={"params": '{"foreground": [[NaN, 0, 0]]}'},
        timeout=120,
    )
    assert answer.status_code == 400
    assert "detail" in answer.json()


def test_unknown_image_gets_a_sentence(server):
    answer = infer(server, "1.2.3", {"foreground": [[1, 1, 1]]})
    assert answer.status_code == 404
    assert "There is no image '1.2.3'" in answer.json()["detail"]


def test_dicom_seg_of_a_click(server, case):
    uid, truth = case
    answer = infer(server, uid, {"foreground": [lesion_voxel(truth)], "region": True}, output="dicom_seg")
    assert answer.status_code == 200, answer.text
    assert answer.content[128:132] == b"DICM"


def test_clicks_leave_no_predictions_and_no_results_behind(server, case, workspace):
    uid, truth = case
    infer(server, uid, {"foreground": [lesion_voxel(truth)]})
    cache = workspace / "cache"
    # Deleted after the answer is sent.
    wait_for(lambda: not list((cache / "results").iterdir()), "the deletion of the result", seconds=30)
    assert not list((cache / "predictions").rglob("*.nii.gz"))


def test_model_learns_from_a_label_and_its_versions_are_chosen(server, phantom_studies, workspace, model_dir, capsys):
    series = phantom_studies.of_patient("LUNG-001")
    assert put_label(server, series.series_uid, series.truth).status_code == 200
    trainers = requests.get(f"{server.url}/info/", timeout=120).json()["trainers"]
    assert [*trainers] == ["lung_tumor", "lung_tumor_click"]
    too_many = requests.post(f"{server.url}/train/lung_tumor_click", json={"click_steps": 0}, timeout=120)
    assert "click_steps must be" in too_many.json()["detail"]
    started = requests.post(f"{server.url}/train/lung_tumor_click", json={"click_steps": 1}, timeout=120)
    assert started.status_code == 200, started.text
    task = wait_for(lambda: finished_task(server, "train"), "the end of the training", seconds=600)
    assert task["status"] == "DONE", "\n".join(task["details"])
    shown = requests.get(f"{server.url}/viewer/status", timeout=120).json()
    assert shown["verdict"].startswith("lung_tumor_click: Kept, not in use")
    other = requests.get(f"{server.url}/status/data", timeout=120).json()["other_models"]["lung_tumor_click"]
    (version,) = [one["version"] for one in other["versions"]]
    automatic, clicks = shown["versions"]
    assert automatic == {"model": "lung_tumor", "in_use": automatic["in_use"], "kept": None, "previous": None}
    assert clicks["kept"] == {"version": version, "verdict": "not measured"}

    served = requests.post(f"{server.url}/model/lung_tumor_click/serve", params={"version": version}, timeout=120)
    assert served.json() == {"model_version": version, "previous": "pretrained"}
    click = {"foreground": [lesion_voxel(sitk.ReadImage(str(series.truth)))], "region": True}
    assert infer(server, series.series_uid, click).json()["model_version"] == version
    options = ["--workspace", str(workspace), "--model-dir", str(model_dir), "--model", "lung_tumor_click"]
    assert main(["models", *options, "--back"]) == 0
    assert "* pretrained" in capsys.readouterr().out
    assert infer(server, series.series_uid, click).json()["model_version"] == "pretrained"
    assert main(["models", "--workspace", str(workspace), "--model-dir", str(model_dir)]) == 0
    assert version not in capsys.readouterr().out, "the automatic model has no versions"


def test_upload_is_checked_against_the_network_of_its_model(server, model_dir):
    with (model_dir / SHIPPED_FILES[CLICKS]).open("rb") as file:
        fits = requests.put(f"{server.url}/model/lung_tumor_click", files={"file": file}, timeout=120)
        file.seek(0)
        other = requests.put(f"{server.url}/model/lung_tumor", files={"file": file}, timeout=120)
    assert fits.status_code == 200, fits.text
    assert fits.json()["model_version"] == "pretrained"
    assert other.status_code == 400
    assert "no usable weights of this network" in other.json()["detail"]
