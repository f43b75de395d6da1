"""Review of labels, and users who work on the same case: routes and the next sample over real stored labels."""

import gzip
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import requests
from fastapi import APIRouter, Depends, Header, Request
from monailabel.endpoints.user.auth import User
from monailabel.tasks.activelearning.first import First

from lib.activelearning import Leases, NextSample, Review
from lib.activelearning.asker import Asker
from lib.app import MyApp
from lib.cli.labels import _restore
from lib.datastore.label_store import LabelStore
from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError
from lib.exports.case_rows import case_rows
from lib.identity.authentication import Identity
from lib.identity.roles import Role
from lib.phantoms import Acquisition, write_dicom_series
from lib.server import seen_labels
from lib.server.current_user import _NAMES, current_user
from lib.server.datastore_routes import datastore_router
from lib.server.open_cases import OpenCases
from lib.server.review_routes import review_router
from lib.server.seen_labels import SeenLabels
from lib.server.study_states import study_states
from lib.server.viewer_routes import viewer_router
from lib.settings import Settings
from tests.support.routes import serve_router

GRID = Acquisition(shape=(6, 16, 20), spacing=(2.5, 1, 1))
ROLES = {"ada": Role.ANNOTATOR, "ben": Role.ANNOTATOR, "rhea": Role.REVIEWER, "Rhea": Role.REVIEWER, "root": Role.ADMIN}


def user_of(request: Request, x_user: str = Header()) -> User:
    request.state.identity = Identity(x_user, ROLES[x_user], f"session of {x_user}")
    return User(username=x_user, roles=[name for role, name in _NAMES.items() if role <= ROLES[x_user]])


class Department:
    """The routes over two series, whose labels need a review, and the next sample.

    Args:
        datastore: Images and labels.
    """

    def __init__(self, datastore: SeriesDatastore) -> None:
        self.datastore = datastore
        self.first, self.second = sorted(datastore.list_images())
        self.reviewed: list[str] = []
        self.ended: set[str] = set()
        self.now = [0.0]
        self.leases = Leases(60, has_ended=self.ended.__contains__)
        self.app = SimpleNamespace(
            datastore=lambda: datastore,
            uploads_dir=datastore._settings.cache_dir,
            on_save_label=lambda image, label: self.leases.release(image),
            on_review=self._on_review,
            initial_labels=SimpleNamespace(refused=lambda image: []),
            others_at_work=lambda *who: MyApp.others_at_work(self.app, *who),
            _open_cases=OpenCases(self.ended.__contains__, clock=lambda: self.now[0]),
            _leases=self.leases,
            seen_labels=SeenLabels(),
        )
        self._chooser = NextSample({"random": First()}, Review(dict), self.leases)
        self.url = ""

    def _on_review(self, image: str) -> None:
        self.reviewed.append(image)
        self.leases.release(image)

    def download(self, user: str, image: str, output: str = "image", status: int = 200) -> None:
        query = {"label": image, "tag": "final", "output": output}
        answer = requests.get(f"{self.url}/datastore/label", params=query, headers={"X-User": user})
        assert answer.status_code == status

    def submit(self, user: str, image: str, tag: str = "", **params) -> requests.Response:
        voxels = np.zeros(GRID.shape, np.uint8)
        voxels[2, 3, len(self.datastore.labels.history(image))] = 1
        return requests.put(
            f"{self.url}/datastore/label",
            params={"image": image, "tag": tag},
            headers={"X-User": user},
            data={"params": json.dumps(params)},
            files={"label": ("label.bin", voxels.tobytes())},
        )

    def review(self, user: str, image: str, verdict: str, number: int, note: str = "") -> requests.Response:
        query = {"image": image, "number": number}
        url = f"{self.url}/viewer/review/{verdict}"
        return requests.post(url, params=query, headers={"X-User": user}, data={"note": note})

    def case(self, user: str, image: str) -> dict:
        return requests.get(f"{self.url}/viewer/case", params={"image": image}, headers={"X-User": user}).json()

    def next_for(self, user: str, **request: str) -> tuple[str, str | None]:
        asker = Asker(user, reviews=ROLES[user] >= Role.REVIEWER, session=f"session of {user}")
        chosen = self._chooser.choose(asker.named_in({"client_id": user, **request}), self.datastore)
        return (chosen["id"], chosen.get("review_state")) if chosen else ("", None)

    def states(self) -> dict[str, tuple[str, str | None]]:
        found = [one for series in study_states(self.datastore, ()).values() for one in series]
        return {one["series"]: (one["state"], one["reason"]) for one in found}


@pytest.fixture(params=["true"])
def department(tmp_path, request) -> Iterator[Department]:
    studies = tmp_path / "dicom"
    for name in ("a", "b"):
        write_dicom_series(studies / name, np.zeros(GRID.shape, np.int16), GRID.affine, patient_id=name)
    conf = {"workspace": str(tmp_path / "workspace"), "review": request.param}
    settings = Settings.from_conf(str(studies), conf)
    settings.cache_dir.mkdir(parents=True)
    client = FolderClient(studies, settings.segs_dir, settings.cache_dir / "index.sqlite")
    client.scan()
    made = Department(SeriesDatastore(client, settings))
    routes = APIRouter(dependencies=[Depends(user_of)])  # as the access control does, for all routes
    for one in (datastore_router, viewer_router, review_router):
        routes.include_router(one(made.app))
    with serve_router(routes, overrides={current_user: user_of}) as url:
        made.url = url
        yield made


def test_label_is_sent_back_corrected_and_approved(department):
    first, second, datastore = department.first, department.second, department.datastore
    assert department.submit("ada", first).status_code == 200
    assert department.case("ada", first)["review"]["state"] == "waiting for review"
    assert datastore.get_labeled_images() == [first] and datastore.trained_on() == [] == datastore.datalist()
    assert department.next_for("ben") == (second, None)
    assert department.next_for("rhea") == (first, "waiting for review")
    assert department.case("rhea", first)["review"]["may_review"] is True
    assert department.case("ben", first)["review"]["may_review"] is False

    without_note = department.review("rhea", first, "send-back", 1, " ")
    assert (without_note.status_code, "what is to be corrected" in without_note.text) == (400, True)
    assert department.review("rhea", first, "send-back", 1, "Mind the hilum.").status_code == 200
    review = department.case("ada", first)["review"]
    assert (review["state"], review["by"], review["note"]) == ("sent back", "rhea", "Mind the hilum.")
    assert department.states()[first] == ("sent back", "Mind the hilum.")
    assert department.next_for("ada") == (first, "sent back"), "before the image without a label"
    assert datastore.trained_on() == []

    assert department.submit("ada", first, begun_from=1).status_code == 200
    assert department.case("ada", first)["review"]["state"] == "waiting for review"
    late = department.review("rhea", first, "approve", 1)
    assert (late.status_code, "label 2 is" in late.text) == (409, True)
    assert department.review("rhea", first, "approve", 2, "Good.").status_code == 200
    assert datastore.trained_on() == [first] == department.reviewed[:1]
    assert department.states()[first][0] == "approved"
    assert [pair["image_id"] for pair in datastore.datalist()] == [first]
    assert [len(one.info["reviews"]) for one in datastore.labels.history(first)] == [1, 1], "nothing is overwritten"

    [row] = [one for one in case_rows(datastore, {}) if one.series_instance_uid == first]
    assert (row.review, row.reviewed_by, row.review_note, row.reviewed_at[:2]) == ("approved", "rhea", "Good.", "20")
    _restore(datastore.labels, first, 2)
    assert datastore.review_of(first).state == "waiting for review", "the review is of another version"


def test_nobody_reviews_the_own_label_nor_says_so_with_it(department):
    first = department.first
    forged = {"verdict": "approved", "by": "rhea", "time": 1.0, "note": ""}
    assert department.submit("rhea", first, reviews=[forged]).status_code == 200
    assert department.datastore.review_of(first).state == "waiting for review"
    assert department.case("rhea", first)["review"]["may_review"] is False
    assert department.next_for("rhea") == (department.second, None)
    own = department.review("rhea", first, "approve", 1)
    assert (own.status_code, "somebody else" in own.text) == (403, True)
    assert department.review("Rhea", first, "approve", 1).status_code == 403, "the same user, by a directory's rules"
    assert department.review("root", first, "approve", 1).status_code == 200
    assert department.datastore.trained_on() == [first]
    assert department.review("root", department.second, "approve", 1).status_code == 404


def test_the_open_label_is_not_the_next_to_review_unless_it_is_the_only_one(department):
    first, second = department.first, department.second
    for image in (first, second):
        department.submit("ada", image)
    assert department.next_for("rhea", open=first) == (second, "waiting for review")
    assert department.next_for("rhea", open=second) == (first, "waiting for review")
    department.review("rhea", second, "approve", 1)
    assert department.next_for("rhea", open=first) == (first, "waiting for review")


@pytest.mark.parametrize("department", ["false"], indirect=True)
def test_without_the_setting_labels_are_trained_on_until_one_is_sent_back(department):
    first, datastore = department.first, department.datastore
    department.submit("ada", first)
    assert department.case("rhea", first)["review"] == {
        **dict.fromkeys(("state", "by", "time", "note")),
        "may_review": True,
    }
    assert (datastore.trained_on(), department.states()[first]) == ([first], ("labelled", None))
    department.review("rhea", first, "send-back", 1, "No.")
    assert datastore.trained_on() == []
    department.submit("ada", first)
    assert datastore.trained_on() == [first]
    assert department.states()[first][0] == "waiting for review"


def test_users_on_one_case_are_told(department):
    first = department.first
    assert department.case("ada", first)["others"] == []
    assert department.case("ben", first)["others"] == [{"name": "ada", "sign": "open"}]
    department.now[0] = 31
    assert department.case("ada", first)["others"] == [], "ben has left"
    department.ended.add("session of ada")
    assert department.case("ben", first)["others"] == [], "ada has logged out"
    assert department.next_for("rhea")[0] == first
    department.datastore.drafts.keep("ada", first, "page", gzip.compress(b"{}"))
    expected = [{"name": "ada", "sign": "draft"}, {"name": "rhea", "sign": "offered"}]
    assert department.case("ben", first)["others"] == expected
    assert [one["name"] for one in department.case("ada", first)["others"]] == ["ben", "rhea"]


def test_label_from_an_older_version_does_not_silently_replace_the_latest(department):
    first = department.first
    assert department.submit("ada", first, begun_from=None).status_code == 200
    refused = department.submit("ben", first, begun_from=None)
    assert (refused.status_code, "Label 1 by ada was submitted since" in refused.text) == (409, True)
    assert len(department.datastore.labels.history(first)) == 1
    assert department.submit("ben", first, begun_from=1).status_code == 200
    assert department.submit("ada", first, begun_from=1).status_code == 409
    assert department.datastore.labels.latest(first, "final").number == 2
    with pytest.raises(UserError, match="no longer the latest"):
        department.datastore.labels.update_info(first, "final", dict, number=1)


def test_a_client_that_does_not_say_what_it_began_from_replaces_nothing_silently(department):
    """3D Slicer and scripts: what the user has seen counts; who was told of the newer label may replace it."""
    first, labels = department.first, department.datastore.labels
    assert department.submit("ada", first).status_code == 200
    unseen = department.submit("ben", first)
    assert (unseen.status_code, "Label 1 by ada was submitted, which you have not loaded" in unseen.text) == (409, True)
    assert department.submit("ben", first).status_code == 200, "ben was told"
    refused = department.submit("ada", first)
    assert (refused.status_code, "Label 2 by ben was submitted since" in refused.text) == (409, True)
    assert department.submit("ada", first).status_code == 200, "ada was told"
    assert department.submit("ada", first).status_code == 200, "the own label"
    assert [one.info.get("begun_from") for one in labels.history(first)] == [None, 1, 2, 3]
    assert department.submit("ben", first).status_code == 409
    assert department.submit("ben", first, begun_from=2).status_code == 409, "what a client says counts"
    department.download("rhea", first)
    assert department.submit("rhea", first).status_code == 200
    assert labels.latest(first, "final").info["begun_from"] == 4
    assert department.submit("rhea", first, begun_from=None).status_code == 409
    assert department.submit("ada", first, tag="original").status_code == 200, "of a model, not of a person"


@pytest.mark.parametrize("begun_from", [{}, {"begun_from": 1}])
def test_label_submitted_since_the_start_is_not_replaced_by_who_got_nothing_since(department, begun_from):
    """3D Slicer had the scan open before the server was started again; ada uses 3D Slicer or OHIF."""
    first, second = department.first, department.second
    for image in (first, second):
        department.submit("ada", image)
    department.app.seen_labels = SeenLabels()
    assert department.submit("ben", second).status_code == 200, "a label from before the start may have been seen"
    assert department.submit("ada", first, **begun_from).status_code == 200
    assert department.submit("ben", first).status_code == 409
    assert department.datastore.labels.latest(first, "final").info["annotator"] == "ada"
    assert department.submit("ada", first).status_code == 200
    assert department.submit("ben", first).status_code == 409, "still another one than ben was told of"


def test_of_two_who_submit_at_once_one_is_told(department):
    first = department.first
    with ThreadPoolExecutor(2) as pool:
        answers = [*pool.map(lambda user: department.submit(user, first).status_code, ("ada", "ben"))]
    assert sorted(answers) == [200, 409]
    assert len(department.datastore.labels.history(first)) == 1


def test_what_a_user_got_first_is_what_counts(department):
    """3D Slicer does not load an image again that it has, though Next Sample offers it again."""
    first, seen, labels = department.first, department.app.seen_labels, department.datastore.labels
    ada = SimpleNamespace(state=SimpleNamespace(identity=Identity("ada", Role.ANNOTATOR)))
    seen.begin(ada, first, labels)
    assert department.submit("ben", first).status_code == 200
    seen.begin(ada, first, labels)
    refused = department.submit("ada", first)
    assert (refused.status_code, "when there was no label" in refused.text) == (409, True)
    nobody = SimpleNamespace(state=SimpleNamespace())
    seen.begin(nobody, first, labels)
    assert seen.begun_from(nobody, first) == {}, "while log-in is off, everybody is the same user"


def test_a_label_that_somebody_stores_meanwhile_was_not_seen(department, monkeypatch):
    """Between the answer to a user and the note of what the user has seen."""
    first, labels = department.first, department.datastore.labels

    def by_ben(*_) -> None:
        labels.save(first, "final", lambda part: part.write_bytes(b"label"), {"annotator": "ben"})

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(department.app, "on_save_label", by_ben)
        assert department.submit("ada", first).status_code == 200
    refused = department.submit("ada", first)
    assert (refused.status_code, "Label 2 by ben" in refused.text) == (409, True)

    latest = LabelStore.latest

    def read_before_ben(*which):
        record = latest(*which)
        by_ben()
        return record

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(LabelStore, "latest", read_before_ben)
        department.download("rhea", first)
    refused = department.submit("rhea", first)
    assert (refused.status_code, "Label 3 by ben" in refused.text) == (409, True)


def test_what_was_seen_longest_ago_is_forgotten_first(department, monkeypatch):
    monkeypatch.setattr(seen_labels, "_MOST", 2)
    seen, ada = SeenLabels(), SimpleNamespace(state=SimpleNamespace(identity=Identity("ada", Role.ANNOTATOR)))
    for image in ("1", "2", "1", "3"):
        seen.see(ada, image, 1)
    assert [image for image in ("1", "2", "3") if seen.begun_from(ada, image)] == ["1", "3"]


def test_who_exports_the_latest_label_does_not_go_on_from_it(department):
    def refuse(record) -> None:
        raise UserError("It cannot be exported.")

    first, department.app.exports = department.first, SimpleNamespace(dicom_seg=refuse)
    assert department.submit("ada", first).status_code == 200
    department.download("rhea", first)
    department.download("ben", first)
    assert department.submit("ben", first).status_code == 200
    department.download("rhea", first, "seg", status=400)
    assert department.submit("rhea", first).status_code == 409
