"""A reader study on the real server: nobody sees another's label, a disagreement goes to the reviewer."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pydicom
import pytest
import requests
import SimpleITK as sitk

from lib.annotations import lidc_xml
from lib.cli import main
from lib.datastore.label_record import read_voxels
from lib.datastore.label_store import LabelStore
from lib.datastore.volume import read_volume
from lib.geometry.voxel_grid import VoxelGrid
from lib.identity.roles import Role
from lib.publishing import ModelStore
from tests.support.client import FAST_TRAINING
from tests.support.reader_study import TIMING, write_study_file
from tools.support.app_server import monailabel_server
from tools.support.users import add_users, logged_in
from tools.support.waiting import wait_for

pytestmark = pytest.mark.server
READERS, REVIEWER, STRANGER, ADMIN = ("anna", "ben"), "rhea", "eve", "root"


@dataclass(frozen=True)
class Running:
    """A server with a study of two cases, and a session of each user."""

    url: str
    users: dict[str, requests.Session]
    disputed: object
    agreed: object
    other: object
    labels: LabelStore
    models: ModelStore

    def get(self, user, path, **query):
        return self.users[user].get(f"{self.url}{path}", params=query)

    def answer(self, user, path, **query):
        response = self.get(user, path, **query)
        assert response.status_code == 200, f"{path}: {response.text}"
        return response.json()

    def submit(self, user, image, file, **params):
        with file.open("rb") as label:
            return self.users[user].put(
                f"{self.url}/datastore/label",
                params={"image": image},
                data={"params": json.dumps(params)},
                files={"label": (file.name, label)},
            )


@pytest.fixture(scope="module")
def running(phantom_studies, tmp_path_factory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("study")
    workspace = folder / "workspace"
    disputed, agreed, other = (phantom_studies.of_patient(f"LUNG-00{number}") for number in (1, 2, 3))
    file = write_study_file(
        folder, READERS, [disputed.series_uid, agreed.series_uid], f"reviewers: [{REVIEWER}]\nask: [texture]"
    )
    readers = dict.fromkeys((*READERS, STRANGER), Role.ANNOTATOR)
    add_users(workspace, **readers, **{REVIEWER: Role.REVIEWER, ADMIN: Role.ADMIN})
    with monailabel_server(phantom_studies.directory, folder, study=file) as server:
        users = {name: logged_in(server.url, name) for name in (*readers, REVIEWER, ADMIN)}
        yield Running(
            server.url,
            users,
            disputed,
            agreed,
            other,
            LabelStore(workspace / "labels"),
            ModelStore(workspace / "models"),
        )


@pytest.fixture(scope="module")
def shifted(running, tmp_path_factory):
    """Return the true mask of the disputed case, moved by half of the lesion."""
    truth = sitk.ReadImage(str(running.disputed.truth))
    moved = sitk.GetImageFromArray(np.roll(sitk.GetArrayFromImage(truth), 8, axis=2))
    moved.CopyInformation(truth)
    path = tmp_path_factory.mktemp("masks") / "shifted.nii.gz"
    sitk.WriteImage(moved, str(path))
    return path


def remarks(mask) -> list[dict]:
    places = np.argwhere(sitk.GetArrayFromImage(sitk.ReadImage(str(mask))))[0]
    voxel = [int(index) for index in places[::-1]]
    return [{"voxel": voxel, "state": "added", "confidence": None, "note": "", "texture": "solid"}]


def test_readers_have_their_cases_and_others_have_none_of_them(running):
    cases = {running.disputed.series_uid, running.agreed.series_uid}
    assert running.answer("anna", "/viewer/reading")["due"] == 2
    listed = {one["series"] for series in running.answer("anna", "/viewer/studies").values() for one in series}
    assert listed == cases == running.answer("anna", "/datastore/", output="all")["objects"].keys()
    listed = {one["series"] for series in running.answer(STRANGER, "/viewer/studies").values() for one in series}
    assert listed and not listed & cases
    assert running.other.series_uid in listed
    for user, image in ((STRANGER, running.agreed.series_uid), ("anna", running.other.series_uid)):
        for path in ("/viewer/case", "/datastore/image", "/datastore/image/info", "/viewer/lungs"):
            assert running.get(user, path, image=image).status_code == 404, (user, path)
    assert running.get(REVIEWER, "/viewer/case", image=running.agreed.series_uid).status_code == 404
    study = {one["0020000D"]["Value"][0] for one in running.answer("anna", "/proxy/dicom/qido/studies")}
    assert study == {running.disputed.study_uid, running.agreed.study_uid}


def test_next_sample_follows_the_study(running):
    chosen = [running.users[user].post(f"{running.url}/activelearning/first", json={}).json()["id"] for user in READERS]
    assert {*chosen} <= {running.disputed.series_uid, running.agreed.series_uid}
    again = running.users["anna"].post(f"{running.url}/activelearning/random", json={}).json()["id"]
    assert again == chosen[0]


def test_model_is_not_shown_in_a_reading_without_it(running):
    image = running.disputed.series_uid
    run = running.users["anna"].post(f"{running.url}/infer/lung_tumor", params={"image": image})
    assert (run.status_code, "read without the model" in run.text) == (403, True)
    assert running.get("anna", f"/attention/{image}").status_code == 403
    with running.disputed.truth.open("rb") as volume:  # the image itself, uploaded as a file
        sent = {"params": {"image": image}, "files": {"file": ("image.nii.gz", volume)}}
        assert running.users["anna"].post(f"{running.url}/infer/lung_tumor_click", **sent).status_code == 403
    assert running.users["anna"].post(f"{running.url}/infer/lung_tumor", params={"session_id": "1"}).status_code == 404


def test_the_study_asks_for_textures(running):
    image, truth = running.agreed.series_uid, running.agreed.truth
    refused = running.submit("anna", image, truth, lesions=[{**remarks(truth)[0], "texture": ""}])
    assert (refused.status_code, "asks for the texture" in refused.text) == (400, True)
    kept = running.submit("anna", image, truth)  # as 3D Slicer, which has no place for a texture
    assert (kept.status_code, "is no reading yet" in kept.json()["detail"]) == (200, True)
    assert running.answer("anna", "/viewer/case", image=image)["stored"][0]["tag"] == "incomplete"
    assert running.answer("anna", "/viewer/status")["labelled"] == 0
    study = running.answer("anna", "/viewer/reading")
    assert (study["submitted"], study["due"], [*study["incomplete"]]) == (0, 2, [image])
    running.labels.withdraw(image, running.labels.history(image)[-1].tag)


def test_nobody_sees_the_label_of_another_reader(running):
    image, study = running.disputed.series_uid, running.disputed.study_uid
    truth = running.disputed.truth
    submitted = running.submit("anna", image, truth, lesions=remarks(truth), reading=TIMING, annotator="ben")
    assert submitted.status_code == 200, submitted.text
    own = running.answer("anna", "/viewer/case", image=image)
    assert (own["label"]["number"], own["label"]["tag"], own["label"]["annotator"]) == (1, "final", "anna")
    assert own["label"]["lesion_numbers"][0]["number"] == 1
    assert running.get("anna", "/datastore/label", label=image).content == running.labels.content(
        running.labels.history(image)[0]
    )
    assert running.answer("anna", "/viewer/status")["labelled"] == 1
    for user in ("ben", STRANGER, REVIEWER):
        assert image not in json.dumps(running.answer(user, "/datastore/", output="all")["objects"]) or user == "ben"
        assert running.answer(user, "/viewer/status")["labelled"] == 0
        assert running.answer(user, "/info/")["datastore"]["completed"] == 0
        assert running.answer(user, "/datastore/")["label_tags"] == {}
        for path, query in (
            ("/datastore/label", {"label": image}),
            ("/datastore/label", {"label": image, "output": "seg"}),
            ("/datastore/label", {"label": image, "tag": running.labels.history(image)[0].tag}),
            ("/datastore/label/info", {"label": image, "tag": "final"}),
            ("/viewer/label", {"image": image, "number": 1}),
        ):
            assert running.get(user, path, **query).status_code == 404, (user, path, query)
        for path in ("/status/data", "/datastore/dataset", "/train/", "/logs/"):
            assert running.get(user, path, label=image).status_code in (403,), (user, path)
        assert running.users[user].get(f"{running.url}/status", allow_redirects=False).headers["location"] == "/ohif/"
    assert running.get("anna", "/datastore/label", label=image, output="seg").status_code == 403
    seen = running.answer("ben", "/viewer/case", image=image)
    assert (seen["label"], seen["stored"], seen["last_lesion_number"]) == (None, [], 0)
    assert running.answer("ben", "/viewer/studies")[study][0]["state"] == "to do"
    assert running.answer("ben", "/viewer/reading")["submitted"] == 0


def test_disagreement_is_decided_by_the_reviewer(running, shifted, tmp_path):
    image = running.disputed.series_uid
    assert running.submit("ben", image, shifted, lesions=remarks(shifted)).status_code == 200
    own = running.answer("ben", "/viewer/case", image=image)
    assert [one["number"] for one in own["stored"]] == [1]  # a 2 would tell that somebody was faster
    assert running.answer("ben", "/datastore/label/info", label=image)["name"] == "1.nii.gz"
    voxels = running.get("ben", "/datastore/label", label=image).content
    assert voxels == running.labels.content(running.labels.history(image)[1])
    assert running.get("ben", "/viewer/label", image=image, number=1).status_code == 200
    assert running.get("ben", "/viewer/label", image=image, number=2).status_code == 404
    cases = wait_for(lambda: running.answer(REVIEWER, "/viewer/disagreements"), "the disagreement", seconds=120)
    (case,) = cases
    assert (case["image"], case["decided"], len(case["labels"])) == (image, False, 2)
    assert case["lesions"][0]["lowest_dice"] < 0.7
    assert sorted(one["reader"] for one in case["labels"]) == ["A", "B"]
    seen = running.get(REVIEWER, "/viewer/case", image=image).text
    assert not any(name in seen for name in READERS) and "reader A" in seen
    assert running.get(REVIEWER, "/viewer/label", image=image, number=1).status_code == 200
    assert running.users[REVIEWER].post(f"{running.url}/activelearning/first", json={}).json()["id"] == image
    truth = running.disputed.truth
    assert running.submit(REVIEWER, image, truth, adjudicates=[1]).status_code == 409
    nothing = tmp_path / "nothing.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(truth), sitk.sitkUInt8) * 0, str(nothing))
    rejected = running.submit(REVIEWER, image, nothing, adjudicates=[1, 2], confirm_empty=True)
    assert rejected.status_code == 200, rejected.text
    final = running.labels.in_use(image)["final"]
    assert (final.info["adjudicates"], final.info["voxels"]) == ([1, 2], 0), "there is no lesion"
    assert running.submit(REVIEWER, image, truth, adjudicates=[1, 2]).status_code == 200
    final = running.labels.in_use(image)["final"]
    assert (final.info["adjudicates"], final.info["user"]) == ([1, 2], REVIEWER)
    wait_for(lambda: running.answer(REVIEWER, "/viewer/disagreements")[0]["decided"], "the decision", seconds=120)
    assert running.submit("anna", image, truth, lesions=remarks(truth)).status_code == 409
    assert running.answer("anna", "/viewer/case", image=image)["label"]["number"] == 1


def test_agreement_becomes_the_final_label_without_anybody_seeing_it(running):
    """The consensus is stored as DICOM SEG, which readers do not see in any DICOMweb list."""
    image, study, truth = running.agreed.series_uid, running.agreed.study_uid, running.agreed.truth
    for reader in READERS:
        assert running.submit(reader, image, truth, lesions=remarks(truth)).status_code == 200
    final = wait_for(lambda: running.labels.in_use(image).get("final"), "the consensus", seconds=120)
    assert final.info["consensus"] == {"method": "majority", "of": [3, 4]}  # 1: incomplete; 2: withdrawn
    voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(truth)))
    assert final.info["voxels"] == int((voxels > 0).sum())
    series = f"/proxy/dicom/qido/studies/{study}/series"
    modalities = {"Modality": "SEG"}
    seg = wait_for(lambda: running.answer(ADMIN, series, **modalities), "the SEG", seconds=120)[0]
    seg_uid = seg["0020000E"]["Value"][0]
    assert running.answer("anna", series, **modalities) == []
    assert [one["00080060"]["Value"] for one in running.answer("anna", series)] == [["CT"]]
    assert running.answer("anna", "/proxy/dicom/qido/series", **modalities) == []
    assert running.answer("anna", "/proxy/dicom/qido/instances", Modality="SEG") == []
    assert running.answer(STRANGER, "/proxy/dicom/qido/instances", SeriesInstanceUID=seg_uid) == []
    metadata = running.answer("anna", f"/proxy/dicom/wado/studies/{study}/metadata")
    assert {one["0020000E"]["Value"][0] for one in metadata} == {image}
    for one in running.answer("anna", "/proxy/dicom/qido/studies", ModalitiesInStudy="SEG"):
        assert (one["00080061"]["Value"], one["00201206"]["Value"]) == (["CT"], [1])
    for path in (f"series/{seg_uid}", f"series/{seg_uid}/metadata", f"series/{seg_uid}/instances"):
        assert running.get("anna", f"/proxy/dicom/wado/studies/{study}/{path}").status_code == 404
    stored = running.answer("anna", "/viewer/case", image=image)["stored"]
    assert [one["tag"] for one in stored] == ["final", "incomplete"]
    assert running.answer("anna", "/viewer/status")["labelled"] == 2
    assert running.users["anna"].post(f"{running.url}/activelearning/first", json={}).json() == {}


def test_final_labels_are_trained_on(running):
    trained = {one["image_id"]: one["label"] for one in running.answer(ADMIN, "/datastore/", output="train")}
    for case in (running.disputed, running.agreed):
        final = running.labels.in_use(case.series_uid)["final"]
        assert trained[case.series_uid].endswith(running.labels.file_name(final))
    assert len(trained) == 2

    admin, url = running.users[ADMIN], f"{running.url}/train"
    started = admin.post(f"{url}/lung_tumor", json=FAST_TRAINING | {"max_epochs": 1})
    assert started.status_code == 200, started.text

    def ended() -> dict | None:
        task = admin.get(f"{url}/").json()
        return None if task["status"] in ("SUBMITTED", "RUNNING") else task

    task = wait_for(ended, "the end of the training", seconds=600)
    assert task["status"] == "DONE", task["details"]
    finals = [running.labels.in_use(case.series_uid)["final"] for case in (running.disputed, running.agreed)]
    (version,) = running.models.manifests()
    assert version["labels"] == {final.image_id: final.sha256 for final in finals}


def test_times_and_counts_are_stored_with_the_reading(running):
    first = running.labels.history(running.disputed.series_uid)[0]
    assert first.info["reading"] == TIMING
    assert (first.info["study"]["session"], first.info["study"]["model_mask"]) == (1, False)
    assert "LUNG-001" not in json.dumps(first.info)


def test_four_readers_of_lidc_idri_0001_replayed(shared_data, tmp_path):
    """Pairwise Dice of 0.84 to 0.90, as computed from their outlines; the final label equals SimpleITK's STAPLE."""
    folder = shared_data / "lidc-idri-0001"
    slices = sorted(folder.rglob("*.dcm"))
    grid, image = VoxelGrid.from_image(read_volume(slices)), str(pydicom.dcmread(slices[0]).SeriesInstanceUID)
    masks = lidc_xml.read_masks(folder / "069.xml", grid)
    readers = ("one", "two", "three", "four")
    rules = "reviewers: [five]\nlowest_dice: 0.8\nconsensus: staple"
    file = write_study_file(tmp_path, readers, [image], rules)
    add_users(tmp_path / "workspace", **dict.fromkeys(readers, Role.ANNOTATOR), five=Role.REVIEWER)
    with monailabel_server(folder, tmp_path, study=file, scored_images=0) as server:
        users = {reader: logged_in(server.url, reader) for reader in readers}
        wait_for(lambda: users["one"].get(f"{server.url}/viewer/studies").json(), "the series", seconds=120)
        for reader, mask in zip(readers, masks, strict=True):
            path = tmp_path / f"{reader}.nii.gz"
            sitk.WriteImage(grid.mask(mask), str(path))
            with path.open("rb") as label:
                sent = {"params": {"image": image}, "files": {"label": (path.name, label)}}
                assert users[reader].put(f"{server.url}/datastore/label", **sent).status_code == 200
        labels = LabelStore(tmp_path / "workspace" / "labels")
        final = wait_for(lambda: labels.in_use(image).get("final"), "the consensus", seconds=300)
    assert (final.info["consensus"]["method"], len(final.info["consensus"]["of"])) == ("staple", 4)
    assert np.array_equal(read_voxels(labels.content(final)), staple_of_simple_itk(masks, grid.spacing))
    work, out = str(tmp_path / "workspace"), tmp_path / "out"
    assert main(["study", "export", str(file), "--workspace", work, "--output", str(out)]) == 0
    with (out / "pairs.csv").open() as pairs:
        dice = sorted(round(float(pair["dice"]), 2) for pair in csv.DictReader(pairs))
    assert dice == [0.84, 0.87, 0.87, 0.89, 0.90, 0.90]


def staple_of_simple_itk(masks, spacing) -> np.ndarray:
    """Return SimpleITK's STAPLE in the box of the lesion and 10 mm around it."""
    places, margin = np.argwhere(np.any(masks, axis=0)), np.ceil(10 / np.array(spacing[::-1])).astype(int)
    low = np.maximum(places.min(axis=0) - margin, 0)
    high = np.minimum(places.max(axis=0) + 1 + margin, masks[0].shape)
    window = tuple(map(slice, low, high))
    estimated = np.zeros(masks[0].shape, bool)
    inside = [sitk.GetImageFromArray(mask[window].astype(np.uint8)) for mask in masks]
    estimated[window] = sitk.GetArrayFromImage(sitk.STAPLE(inside, 1.0)) >= 0.5
    return estimated
