"""``POST /infer``: the findings of the mask are in every form of the answer."""

import json
import os
from tempfile import mkstemp
from types import SimpleNamespace

import numpy as np
import pytest
import requests
import SimpleITK as sitk
from monailabel.endpoints.user.auth import DEFAULT_USER, User
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage, generate_uid

from lib.inference import Finding
from lib.inference.findings import findings_to_json
from lib.server.current_user import current_user
from lib.server.infer_routes import infer_router
from lib.server.request_queues import RequestQueues
from lib.server.task_routes import task_router
from lib.settings import load_info
from tests.support.routes import serve_router

FINDINGS = findings_to_json(Finding((number, 255, 255), (number + 1 / 3) / 200) for number in range(200))


class FakeApp:
    """The part of the app that the route uses, with a model that makes 200 findings."""

    def __init__(self, folder):
        self.settings = SimpleNamespace(info=load_info())
        self.queues = RequestQueues()
        self.finished = SimpleNamespace(key=lambda request: None)
        self.exports = SimpleNamespace(dicom_seg_of_prediction=self._export)
        self.exported = []
        self._folder = folder

    def info(self):
        return {"models": ["lung_tumor"]}

    def datastore(self):
        return SimpleNamespace(series=lambda image: None)

    def infer(self, request):
        handle, mask = mkstemp(suffix=".nrrd", dir=self._folder)  # a response removes its file after it was sent
        os.close(handle)
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.uint8)), mask)
        params = {"voxels": 0, "model_version": "v1", "findings": FINDINGS, "warnings": ["Odd."]}
        return {"label": mask, "file": mask, "tag": "original", "params": params}

    def _export(self, image_id, mask, model_version, findings):
        self.exported.append((image_id, model_version, findings))
        seg = Dataset()
        seg.SOPClassUID, seg.SOPInstanceUID = SegmentationStorage, generate_uid()
        seg.file_meta = FileMetaDataset()
        seg.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        seg.is_little_endian, seg.is_implicit_VR = True, False
        return seg


@pytest.fixture
def app(tmp_path) -> FakeApp:
    return FakeApp(tmp_path)


def test_a_mask_is_not_saved_as_the_reading_of_a_study(app):
    with serve_router(infer_router(app)) as infer, serve_router(task_router(app)) as tasks:
        named = {"save_label": True, "label_tag": "reading-0123456789abcdef-1"}
        for answer in (
            requests.post(f"{infer}/infer/lung_tumor", params={"image": "1.2"}, data={"params": json.dumps(named)}),
            requests.post(f"{tasks}/batch/infer/lung_tumor", json=named),
        ):
            assert (answer.status_code, "kept for studies" in answer.text) == (403, True)


def test_masks_of_all_images_are_saved_in_the_name_of_who_is_logged_in(app, monkeypatch):
    """Not as final, where they would take the place of people's labels, nor in the name of somebody else."""
    asked = []
    monkeypatch.setattr("monailabel.endpoints.batch_infer.run", lambda model, images, params: asked.append(params))
    user = User(username="rhea", roles=DEFAULT_USER.roles)
    with serve_router(task_router(app), overrides={current_user: lambda: user}) as url:
        target = f"{url}/batch/infer/lung_tumor"
        assert requests.post(target, json={"label_tag": "final"}).status_code == 403
        assert requests.post(target, json={"author": "ada"}).ok
    assert asked == [{"author": "rhea"}]


@pytest.fixture
def ask(app):
    """Return ``ask(output)``, which requests a mask from the app's route."""
    with serve_router(infer_router(app)) as url:
        yield lambda output: requests.post(
            f"{url}/infer/lung_tumor", params={"image": "1.2", "output": output}, timeout=60
        )


def test_json_has_all_findings(ask):
    assert ask("json").json()["findings"] == FINDINGS
    answer = ask("all")
    assert json.dumps(FINDINGS)[:300] in answer.text


def test_header_of_an_image_has_the_most_confident_findings(ask):
    answer = ask("image")
    params = json.loads(answer.headers["Infer-Params"])
    assert (params["model_version"], params["warnings"]) == ("v1", ["Odd."])
    assert params["findings"][0] == {"voxel": [199, 255, 255], "confidence": 0.9967}
    assert [one["voxel"] for one in params["findings"]] == [one["voxel"] for one in FINDINGS[:40]]
    assert sum(len(f"{name}: {value}\r\n") for name, value in answer.headers.items()) < 4096  # nginx refuses more


def test_dicom_seg_is_made_with_the_findings(ask, app):
    assert ask("dicom_seg").status_code == 200
    ((image_id, version, findings),) = app.exported
    assert (image_id, version) == ("1.2", "v1")
    assert findings_to_json(findings) == FINDINGS


def test_parts_of_the_answer_have_the_names_of_export_formats_too(ask, app):
    assert ask("seg").status_code == 200
    assert len(app.exported) == 1
    assert ask("nifti").content == ask("image").content
    assert ask("tiff").status_code == 422
