"""3D Slicer: MONAI Label's own client module, as installed by its wheel, against the real server."""

import io

import numpy as np
import pytest
import requests
import SimpleITK as sitk
from pydicom import dcmread

from tests.support.client import versions_shown
from tools.support.waiting import wait_for


@pytest.fixture(scope="module")
def client(slicer_client, start_module_server, phantom_studies, tmp_path_factory):
    server = start_module_server(phantom_studies.directory, scored_images=0, views=1)
    return slicer_client.MONAILabelClient(server.url, str(tmp_path_factory.mktemp("slicer")), client_id="reader")


def wait_for_training(client) -> dict:
    def ended() -> dict | None:
        task = client.train_status()
        return None if task["status"] in ("SUBMITTED", "RUNNING") else task

    return wait_for(ended, "the end of a training", seconds=800)


def with_segment(mask: sitk.Image, name: str, value: int) -> sitk.Image:
    """Return a copy whose header, when written as NRRD, describes a segment as Slicer does."""
    described = sitk.Image(mask)
    for key, text in {"Name": name, "LabelValue": str(value), "Layer": "0"}.items():
        described.SetMetaData(f"Segment0_{key}", text)
    return described


def test_full_workflow(client, slicer_client, phantom_studies, tmp_path):
    info = client.info()
    assert info["labels"] == ["lung_tumor"]
    assert "lung_tumor" in info["models"]
    assert "lung_tumor" in info["trainers"]
    assert {"random", "first", "last"} <= set(info["strategies"])
    assert all("scan" in strategy["description"] for strategy in info["strategies"].values()), "not MONAI Label's texts"
    assert info["trainers"]["lung_tumor"]["config"].keys() == {
        *("pretrained", "device", "max_epochs", "learning_rate", "prior_patients", "folds", "second_stage_steps"),
        *("loss_lambda", "focal_gamma", "focal_alpha", "patch_size", "patches_per_volume", "seed"),
    }, "only what has an effect"

    sample = client.next_sample("first", {})
    series = next(series for series in phantom_studies.series if series.series_uid == sample["id"])
    truth = sitk.ReadImage(str(series.truth), sitk.sitkUInt8)

    with pytest.raises(slicer_client.MONAILabelClientException) as refusal:
        client.infer("lung_tumor", sample["id"], {})
    assert "no trained model" in refusal.value.msg

    labels = {
        ".nii.gz": truth,
        ".nrrd": truth,
        # Slicer's own format: the header assigns values to segments.
        ".seg.nrrd": with_segment(truth * 5, "Lung tumor", 5),
    }
    for number, (suffix, label) in enumerate(labels.items()):
        path = tmp_path / f"label{suffix}"
        sitk.WriteImage(label, str(path), True)
        assert client.save_label(sample["id"], str(path), "", {"label_info": [{"name": "lung_tumor", "idx": 1}]})
        back = sitk.ReadImage(client.download_label(sample["id"], "final"))
        assert np.array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(truth))
        stored = client.datastore()["objects"][sample["id"]]["labels"]["final"]["info"]
        assert stored["number"] == number + 1
        assert stored["client_id"] == "reader"
    sitk.WriteImage(with_segment(truth, "Segment_1", 1), str(path), True)
    with pytest.raises(slicer_client.MONAILabelClientException) as refusal:
        client.save_label(sample["id"], str(path), "", {})
    assert "'Segment_1'" in refusal.value.msg
    sitk.WriteImage(truth * 0, str(tmp_path / "empty.nii.gz"), True)
    with pytest.raises(slicer_client.MONAILabelClientException) as refusal:
        client.save_label(sample["id"], str(tmp_path / "empty.nii.gz"), "", {})
    assert "submit it again within five minutes" in refusal.value.msg
    assert client.next_sample("first", {})["id"] != sample["id"]

    training = {"max_epochs": 1, "patches_per_volume": 4, "patch_size": 64, "folds": 0}
    assert client.train_start("lung_tumor", training)["status"] in ("SUBMITTED", "RUNNING")
    assert wait_for_training(client)["status"] == "DONE"
    url = client.get_server_url()
    kept = versions_shown(url)["kept"]["version"]
    assert requests.post(f"{url}/model/lung_tumor/serve", params={"version": kept}).status_code == 200

    file, params = client.infer("lung_tumor", sample["id"], {"result_extension": ".nrrd"})
    mask = sitk.ReadImage(file)
    assert mask.GetSize() == truth.GetSize()
    np.testing.assert_allclose(mask.GetOrigin(), truth.GetOrigin(), atol=1e-4)
    assert params["label_names"] == {"lung_tumor": 1}

    assert client.save_label(sample["id"], file, "", {"label_info": [{"name": "lung_tumor", "idx": 1}]})
    stored = client.datastore()["objects"][sample["id"]]["labels"]["final"]["info"]
    assert stored["changes"] == {"added": 0, "removed": 0, "kept": params["voxels"]}
    assert stored["model_version"] == params["model_version"]
    query = {"label": sample["id"], "tag": "final", "output": "dicom_seg"}
    seg = dcmread(io.BytesIO(requests.get(f"{url}/datastore/label", params=query).content))
    assert seg.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    proxy = f"{url}/proxy/dicom/qido/studies/{seg.StudyInstanceUID}/series"

    def segs() -> list[str]:
        return [one["0020000E"]["Value"][0] for one in requests.get(proxy, params={"Modality": "SEG"}).json()]

    wait_for(lambda: len(segs()) >= stored["number"], "the DICOM SEG of the label", seconds=300)
    assert seg.SeriesInstanceUID in segs()
    query = {"image": sample["id"], "output": "dicom_seg"}
    predicted = dcmread(io.BytesIO(requests.post(f"{url}/infer/lung_tumor", params=query).content))
    assert predicted.PixelData == seg.PixelData
    assert predicted.SOPInstanceUID != seg.SOPInstanceUID

    client.train_start("lung_tumor", {**training, "max_epochs": 1000})
    wait_for(lambda: client.train_status()["status"] != "SUBMITTED", "the start of a training", seconds=300)
    client.train_stop()
    assert client.train_status()["status"] == "STOPPED"
