"""3D Slicer: MONAI Label's own client, as the wheel brings it, against the real server."""

import importlib.util
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

_CLIENT = Path(sys.prefix) / "monailabel" / "plugins" / "slicer" / "MONAILabel" / "MONAILabelLib" / "client.py"


@pytest.fixture(scope="module")
def slicer_client():
    """The module of the client, loaded as Slicer loads it."""
    spec = importlib.util.spec_from_file_location("slicer_client", _CLIENT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def client(slicer_client, start_module_server, phantom_studies, tmp_path_factory):
    server = start_module_server(phantom_studies.directory)
    return slicer_client.MONAILabelClient(server.url, str(tmp_path_factory.mktemp("slicer")), client_id="reader")


def wait_for_training(client) -> dict:
    while (task := client.train_status())["status"] in ("SUBMITTED", "RUNNING"):
        time.sleep(0.2)
    return task


def test_the_whole_loop(client, slicer_client, phantom_studies, tmp_path):
    info = client.info()
    assert info["labels"] == ["lung_tumor"]
    assert "lung_tumor" in info["models"]
    assert "lung_tumor" in info["trainers"]
    assert {"random", "first", "last"} <= set(info["strategies"])

    sample = client.next_sample("first", {})
    series = next(series for series in phantom_studies.series if series.series_uid == sample["id"])
    truth = sitk.ReadImage(str(series.truth), sitk.sitkUInt8)

    with pytest.raises(slicer_client.MONAILabelClientException) as refusal:
        client.infer("lung_tumor", sample["id"], {})
    assert "no trained model" in refusal.value.msg

    for number, suffix in enumerate((".nii.gz", ".nrrd", ".seg.nrrd")):
        path = tmp_path / f"label{suffix}"
        sitk.WriteImage(truth, str(path), True)
        assert client.save_label(sample["id"], str(path), "", {"label_info": [{"name": "lung_tumor"}]})
        back = sitk.ReadImage(client.download_label(sample["id"], "final"))
        assert np.array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(truth))
        stored = client.datastore()["objects"][sample["id"]]["labels"]["final"]["info"]
        assert stored["number"] == number + 1
        assert stored["client_id"] == "reader"
    assert client.next_sample("first", {})["id"] != sample["id"]

    training = {"max_epochs": 1, "patches_per_volume": 4, "patch_size": 64, "val_split": 0.0}
    assert client.train_start("lung_tumor", training)["status"] in ("SUBMITTED", "RUNNING")
    assert wait_for_training(client)["status"] == "DONE"

    file, params = client.infer("lung_tumor", sample["id"], {"result_extension": ".nrrd"})
    mask = sitk.ReadImage(file)
    assert mask.GetSize() == truth.GetSize()
    np.testing.assert_allclose(mask.GetOrigin(), truth.GetOrigin(), atol=1e-4)
    assert params["label_names"] == {"lung_tumor": 1}

    client.train_start("lung_tumor", {**training, "max_epochs": 1000})
    while client.train_status()["status"] == "SUBMITTED":
        time.sleep(0.1)
    client.train_stop()
    assert client.train_status()["status"] == "STOPPED"
