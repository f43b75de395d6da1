"""Routes used by the panel in OHIF."""

import numpy as np
import pytest
import requests
import SimpleITK as sitk

from lib.datastore.label_store import LabelStore
from tests.support.client import put_label
from tools.support.processes import ServerProcess
from tools.support.waiting import wait_for


@pytest.fixture(scope="module")
def server(start_module_server, phantom_studies) -> ServerProcess:
    return start_module_server(phantom_studies.of_patient("LUNG-003").directory)


def get(server: ServerProcess, path: str, **query) -> requests.Response:
    return requests.get(f"{server.url}/viewer/{path}", params=query)


def test_label_is_returned_as_raw_voxels_by_number(server, phantom_studies):
    series = phantom_studies.of_patient("LUNG-003")
    nothing = {"label": None, "last_lesion_number": 0, "stored": [], "refused": [], "damaged": [], "skipped": None}
    nothing |= {"review": None, "others": []}
    assert get(server, "case", image=series.series_uid).json() == {"image": series.series_uid, **nothing}
    none_of = dict.fromkeys(("user", "model_version", "model_problem", "training", "verdict", "interrupted"))
    versions = [
        {"model": model, "in_use": None, "kept": None, "previous": None} for model in ("lung_tumor", "lung_tumor_click")
    ]
    none_of["preferences"] = []
    empty = {"cases": 1, "not_in_ohif": 0, "labelled": 0, "damaged": 0, "versions": versions, **none_of}
    assert get(server, "status").json() == empty

    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(series.truth), sitk.sitkUInt8))
    for number, voxels in enumerate((truth, np.zeros_like(truth)), start=1):
        requests.put(
            f"{server.url}/datastore/label",
            params={"image": series.series_uid},
            data={"params": '{"annotator": "Dr. Reader", "confirm_empty": true}'},
            files={"label": ("label.bin", voxels.tobytes())},
        ).raise_for_status()
        label = get(server, "case", image=series.series_uid).json()["label"]
        assert (label["number"], label["annotator"]) == (number, "Dr. Reader")
        assert label["voxels"] == np.count_nonzero(voxels)
    assert get(server, "label", image=series.series_uid, number=1).content == truth.tobytes()
    assert not any(get(server, "label", image=series.series_uid, number=2).content)
    stored = get(server, "case", image=series.series_uid).json()["stored"]
    assert [(one["number"], one["tag"], one["problem"]) for one in stored] == [(2, "final", None), (1, "final", None)]
    assert get(server, "status").json()["labelled"] == 1

    findings = [{"voxel": [1, 2, 3], "confidence": 0.93}]
    labels = LabelStore(server.log.parents[1] / "workspace" / "labels")
    labels.update_info(series.series_uid, "final", lambda info: {"findings": findings})
    assert get(server, "case", image=series.series_uid).json()["label"]["findings"] == findings

    first = server.log.parents[1] / "workspace" / "labels" / series.series_uid / "1.nii.gz"
    first.write_bytes(first.read_bytes()[:-1])
    stored = get(server, "case", image=series.series_uid).json()["stored"]
    assert "Label 1 (final) of image" in stored[1]["problem"]
    assert stored[0]["problem"] is None


def test_lungs_are_returned_as_runs(server, phantom_studies):
    found = get(server, "lungs", image=phantom_studies.of_patient("LUNG-003").series_uid).json()
    assert abs(found["midline"]) < 30
    region = found["region"]
    assert sum(region["runs"]) <= np.prod(region["size"])
    assert sum(region["runs"][1::2]) > 0.1 * np.prod(region["size"])


def test_image_is_skipped_with_a_reason_until_it_is_labelled(server, phantom_studies):
    series = phantom_studies.of_patient("LUNG-003")

    def skip(**query) -> requests.Response:
        return requests.post(f"{server.url}/viewer/skip", params={"image": series.series_uid, **query})

    refused = skip(reason="dull")
    assert refused.status_code == 400
    assert "not a chest, poor quality, later" in refused.json()["detail"]
    assert skip(reason="poor quality", by="Dr. Reader").json()["skipped"]["by"] == "Dr. Reader"
    assert get(server, "case", image=series.series_uid).json()["skipped"]["reason"] == "poor quality"
    (case,) = requests.get(f"{server.url}/status/data").json()["cases"]
    assert case["skipped"]["reason"] == "poor quality"
    ((study, (state,)),) = get(server, "studies").json().items()
    assert (study, state["series"]) == (series.study_uid, series.series_uid)
    assert (state["description"], state["reason"]) == ("Chest 2.5 mm", "poor quality")
    assert skip().json() == {"skipped": None}
    skip(reason="later")
    assert put_label(server, series.series_uid, series.truth).status_code == 200
    assert get(server, "case", image=series.series_uid).json()["skipped"] is None


def test_reason_of_a_failed_training_is_shown(server, phantom_studies):
    series = phantom_studies.of_patient("LUNG-003")
    assert put_label(server, series.series_uid, series.truth).status_code == 200
    refused = requests.post(f"{server.url}/train/lung_tumor", json={"learning_rate": "fast"})
    assert refused.status_code == 400
    assert refused.json()["detail"] == "learning_rate must be a number above 0 and up to 1, not 'fast'."
    requests.post(f"{server.url}/train/lung_tumor", json={"train_batch_size": -7}).raise_for_status()

    def ended() -> dict | None:
        status = get(server, "status").json()
        assert status["training"] is None or status["training"]["text"] == "Preparing the training…"
        return None if status["training"] else status

    status = wait_for(ended, "the end of the training", seconds=300)
    assert status["interrupted"].startswith("Failed: ")
    assert "batch_size=-7" in status["interrupted"]
    assert status["verdict"] is None


def test_missing_objects_are_404_with_a_sentence(server, phantom_studies):
    uid = phantom_studies.of_patient("LUNG-003").series_uid
    for answer in (
        get(server, "case", image="../x"),
        get(server, "label", image="1.2.3", number=1),
        get(server, "label", image=uid, number=99),
        requests.get(f"{server.url}/ohif/lunglabel/none.js"),
    ):
        assert answer.status_code == 404
        assert "There is no" in answer.json()["detail"] or "has no file" in answer.json()["detail"]
