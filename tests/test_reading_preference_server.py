"""A preference study on the real server: what readers can reach of two outlines, and where their answers stand."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from lib.datastore.label_store import LabelStore
from lib.identity.roles import Role
from lib.networks import AttentionResidualUNet
from lib.reading.stored_readings import compared_tag
from lib.settings import load_info
from tests.support.reader_study import write_study_file
from tests.support.weights import model_dir_with
from tools.support.app_server import monailabel_server
from tools.support.users import add_users, logged_in
from tools.support.waiting import wait_for

pytestmark = pytest.mark.server
ANNA, STRANGER, ADMIN = "anna", "eve", "root"


def shifted(truth):
    """Return a function that writes the mask moved by half of the lesion."""

    def write(path):
        mask = sitk.ReadImage(str(truth))
        moved = sitk.GetImageFromArray(np.roll(sitk.GetArrayFromImage(mask), 4, axis=2))
        moved.CopyInformation(mask)
        sitk.WriteImage(moved, str(path))

    return write


def grid_size(mask):
    return list(sitk.ReadImage(str(mask)).GetSize())


def test_blinded_readers_compare_a_version_with_a_label(phantom_studies, tmp_path):
    series, workspace = phantom_studies.of_patient("LUNG-001"), tmp_path / "workspace"
    image, labels = series.series_uid, LabelStore(workspace / "labels")
    labels.save(image, "final", lambda path: path.write_bytes(series.truth.read_bytes()), {"user": "ben"})
    tags = [compared_tag("nodules", source) for source in ("pretrained", "label")]
    labels.save(image, tags[0], shifted(series.truth), {"size": grid_size(series.truth), "study": {"name": "nodules"}})
    weights = tmp_path / "weights.pt"
    torch.save(AttentionResidualUNet(**load_info()["network"]).state_dict(), weights)
    model_dir = model_dir_with(weights, tmp_path / "weights")
    file = write_study_file(tmp_path, [ANNA], [image], "kind: preference\ncompare: [pretrained, label]")
    add_users(workspace, **{ANNA: Role.ANNOTATOR, STRANGER: Role.ANNOTATOR, ADMIN: Role.ADMIN})
    with monailabel_server(series.directory, tmp_path, study=file, model_dir=model_dir, scored_images=0) as server:
        users = {name: logged_in(server.url, name) for name in (ANNA, STRANGER, ADMIN)}

        def get(user, path, **query):
            return users[user].get(f"{server.url}{path}", params=query)

        wait_for(lambda: get(ANNA, "/viewer/reading").json()["due"], "the outlines", seconds=120)
        assert users[ANNA].post(f"{server.url}/activelearning/first", json={}).json()["id"] == image
        stored = {tag: labels.in_use(image)[tag] for tag in tags}
        seen = {}
        for letter, number in (("A", 1), ("B", 2)):
            answer = get(ANNA, "/datastore/label", label=image, tag=letter)
            seen[letter] = answer.content
            assert answer.headers["content-disposition"] == f'attachment; filename="{image}.nii.gz"'
            assert get(ANNA, "/viewer/label", image=image, number=number).status_code == 200
            assert get(ANNA, "/datastore/label", label=image, tag=letter, output="seg").status_code == 403
        assert {*seen.values()} == {labels.content(one) for one in stored.values()}
        told = [
            get(ANNA, "/viewer/case", image=image).text,
            get(ANNA, "/datastore/", output="all").text,
            get(ANNA, "/viewer/preference", image=image).text,
            *(get(ANNA, "/datastore/label/info", label=image, tag=letter).text for letter in seen),
            *(str(get(ANNA, "/datastore/label", label=image, tag=letter).headers) for letter in seen),
        ]
        assert not [text for text in told if any(word in text for word in ("pretrained", "compared", '"ben"'))]
        numbers = [one["number"] for one in json.loads(told[0])["stored"]]
        assert (numbers, json.loads(told[0])["label"]) == ([2, 1], None)
        for refused in (
            users[ANNA].post(f"{server.url}/infer/lung_tumor", params={"image": image}),
            get(ANNA, f"/attention/{image}"),
            users[ANNA].put(
                f"{server.url}/datastore/label", params={"image": image}, files={"label": series.truth.read_bytes()}
            ),
            get(ANNA, "/status/data"),
            get(ANNA, "/model/info/lung_tumor"),
        ):
            assert refused.status_code == 403, refused.text
        assert get(STRANGER, "/viewer/preference", image=image).status_code == 404
        (question,) = get(ANNA, "/viewer/preference", image=image).json()
        query = {"image": image, "lesion": question["lesion"], "answer": "A", "active_seconds": 4.5}
        for user, status in ((STRANGER, 404), (ADMIN, 403), (ANNA, 200)):
            assert users[user].post(f"{server.url}/viewer/preference", params=query).status_code == status
        assert get(ANNA, "/viewer/reading").json()["submitted"] == 1
        assert get(ANNA, "/viewer/status").json()["preferences"] == []
        (result,) = get(ADMIN, "/status/data").json()["preferences"]
        assert result["compare"] == ["pretrained", "label"]
        assert get(ADMIN, "/viewer/status").json()["preferences"] == [result["sentence"]]
        is_label = seen["A"] == labels.content(stored[tags[1]])
        assert f"{'label' if is_label else 'pretrained'} better in 1" in result["sentence"]
