"""An empty final label is stored only if it is confirmed: by a parameter, or by submitting it again."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi import UploadFile
from monailabel.endpoints.user.auth import User

from lib.datastore.empty_label import EmptyLabelError
from lib.datastore.opening import open_datastore
from lib.phantoms import Acquisition, write_dicom_series
from lib.server.datastore_routes import datastore_router
from lib.server.empty_labels import EmptyLabels
from lib.server.seen_labels import SeenLabels
from lib.settings import Settings

GRID = Acquisition(shape=(5, 16, 16))


@pytest.fixture
def submit(tmp_path):
    """Return a function that submits a label of one image like 3D Slicer, and the labels that are stored."""
    image = write_dicom_series(tmp_path / "dicom", np.full(GRID.shape, -50, np.int16), GRID.affine, patient_id="A")
    datastore = open_datastore(Settings.from_conf(str(tmp_path / "dicom"), {"workspace": str(tmp_path / "w")}))
    datastore.client.scan()
    app = SimpleNamespace(
        datastore=lambda: datastore,
        uploads_dir=tmp_path / "uploads",
        on_save_label=lambda *_: None,
        exports=None,
        seen_labels=SeenLabels(),
    )
    (route,) = (one.endpoint for one in datastore_router(app).routes if one.name == "save_label")

    def put(voxels: int, tag: str = "final", host: str = "10.0.0.1", **params: object) -> list[int]:
        mask = np.zeros(GRID.shape, np.uint8)
        mask[2, 3, :voxels] = 1
        upload = UploadFile(io.BytesIO(mask.tobytes()), filename="label.bin")
        http, user = SimpleNamespace(client=SimpleNamespace(host=host), state=SimpleNamespace()), User(username="u")
        route(http, image, params=json.dumps(params), tag=tag, label=upload, user=user)
        return [record.info["voxels"] for record in datastore.labels.history(image)]

    return put


def test_empty_label_of_slicer_is_refused_until_it_is_submitted_again(submit):
    with pytest.raises(EmptyLabelError, match="submit it again within five minutes"):
        submit(0, client_id="reader")
    with pytest.raises(EmptyLabelError):
        submit(0, client_id="somebody else")
    with pytest.raises(EmptyLabelError):
        submit(0, client_id="reader", host="10.0.0.2")
    assert submit(0, client_id="reader") == [0]
    with pytest.raises(EmptyLabelError):
        submit(0, client_id="reader")


def test_empty_label_is_stored_if_the_client_has_asked(submit):
    assert submit(0, confirm_empty=True) == [0]
    with pytest.raises(EmptyLabelError):
        submit(0, confirm_empty="yes")


def test_other_labels_need_no_confirmation(submit):
    assert submit(3) == [3]
    assert submit(0, tag="original") == [3, 0], "of the model, which may find nothing"


def test_client_id_that_is_no_text_does_not_fail_the_submission(submit):
    with pytest.raises(EmptyLabelError):
        submit(0, client_id=["reader"])
    assert submit(3, client_id={"reader": 1}) == [3]


def test_confirmation_expires():
    now = [0.0]
    labels = EmptyLabels(clock=lambda: now[0])
    labels.refused("a")
    now[0] = 299
    assert labels.confirms("a")
    assert not labels.confirms("a"), "it counts once"
    labels.refused("a")
    now[0] += 301
    assert not labels.confirms("a")
