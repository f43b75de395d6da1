"""Drafts of the panel on the server: by user, image and page."""

import gzip
import json
import os
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
import requests
from fastapi import Header, Request
from monailabel.endpoints.user.auth import User

from lib.datastore.drafts import Drafts
from lib.errors import UserError
from lib.reading.views import ReaderView, View
from lib.server.current_user import current_user
from lib.server.draft_routes import draft_router
from lib.server.study_views import drafted_images
from tests.support.reader_study import study_labels, submit, write_study_file
from tests.support.routes import serve_router

IMAGE = "1.2.3"


def packed(**draft: object) -> bytes:
    return gzip.compress(json.dumps(draft).encode(), mtime=0)


@pytest.fixture()
def drafts(tmp_path: Path) -> Drafts:
    return Drafts(tmp_path / "drafts")


def only_file(tmp_path: Path) -> Path:
    (path,) = tmp_path.glob("drafts/*/*/*.json.gz")
    return path


def test_draft_outlives_the_server_until_it_is_dropped(drafts, tmp_path):
    drafts.keep("A", IMAGE, "page-1", packed(base=1))
    drafts.keep("A", IMAGE, "page-1", packed(base=2))
    again = Drafts(tmp_path / "drafts")
    assert again.latest("A", IMAGE, "page-2") == ({"base": 2}, [])
    assert again.latest("A", IMAGE, "page-1") == (None, []), "the page's own"
    assert again.images("A") == {IMAGE}
    again.drop("A", IMAGE, "page-1")
    assert again.latest("A", IMAGE, "page-2") == (None, [])
    assert again.images("A") == set()
    again.drop("A", IMAGE, "page-1")


@pytest.mark.parametrize("other", ["B", "a", "A ", "", "../A", "A/../A", "A\udc80", "x" * 1000])
def test_another_user_never_sees_it(drafts, other):
    drafts.keep("A", IMAGE, "page-1", packed(base=1))
    assert drafts.latest(other, IMAGE, "page-2") == (None, [])
    assert drafts.images(other) == set()
    drafts.drop(other, IMAGE, "page-1")
    drafts.keep(other, IMAGE, "page-1", packed(base=2))
    assert drafts.latest("A", IMAGE, "page-2") == ({"base": 1}, [])


def test_the_ten_latest_are_kept_and_leftovers_removed(drafts, tmp_path):
    for number in range(12):
        drafts.keep("A", IMAGE, f"page-{number}", packed(number=number))
        folder = next(tmp_path.glob(f"drafts/*/{IMAGE}"))
        os.utime(folder / f"page-{number}.json.gz", (number, number))
        (folder / ".part-x.json.gz").write_bytes(b"x")  # of a killed process
    assert len(list(folder.iterdir())) == 11
    assert drafts.latest("A", IMAGE, "page-11")[0] == {"number": 10}


def test_draft_that_is_kept_after_the_clock_went_back_is_the_latest(drafts, tmp_path):
    for page in range(10):
        drafts.keep("A", IMAGE, f"page-{page}", packed(page=page))
    for path in tmp_path.glob("drafts/*/*/*.json.gz"):
        os.utime(path, (4e9, 4e9))
    for page in (10, 11):
        drafts.keep("A", IMAGE, f"page-{page}", packed(page=page))
        assert drafts.latest("A", IMAGE, "other") == ({"page": page}, [])
    assert len([*tmp_path.glob("drafts/*/*/*.json.gz")]) == 10


def test_lists_of_drafts_wait_for_one_that_is_being_dropped(drafts, monkeypatch):
    """The panel asks for them every few seconds, while others submit and so drop theirs."""
    drafts.keep("A", IMAGE, "page", packed())
    stat, dropping = Path.stat, []

    def stat_while_another_drops(path, **how):
        if path.name == "page.json.gz" and not dropping:
            dropping.append(Thread(target=drafts.drop, args=("A", IMAGE, "page")))
            dropping[0].start()
            dropping[0].join(0.2)  # ends unless it has to wait
        return stat(path, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", stat_while_another_drops)
        assert drafts.images("A") == {IMAGE}
    dropping[0].join(10)
    assert drafts.images("A") == set()
    assert drafts.owners(IMAGE) == set()


@pytest.mark.parametrize(
    "damage", [lambda c: b"", lambda c: c[:-1], lambda c: c[:20] + b"\0" + c[21:], lambda c: gzip.compress(b"[" * 9999)]
)
def test_damaged_draft_is_reported_once_and_an_older_one_offered(drafts, tmp_path, damage):
    drafts.keep("A", IMAGE, "page-1", packed(base=2, mask=[1, 2, 3]))
    path = only_file(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    drafts.keep("A", IMAGE, "page-0", packed(base=1))
    os.utime(path.with_name("page-0.json.gz"), (1, 1))
    draft, (problem,) = drafts.latest("A", IMAGE, "page-2")
    assert draft == {"base": 1}
    assert problem.endswith("is damaged and is ignored; the server keeps it as page-1.json.gz.damaged-1.")
    assert drafts.latest("A", IMAGE, "page-2") == ({"base": 1}, [])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        gzip.compress(b"[]", mtime=0),
        gzip.compress(b"{}", mtime=0)[:-1],
        gzip.compress(bytes(33 << 20), mtime=0),
        packed() * 2,
    ],
)
def test_what_is_no_draft_is_refused(drafts, content, tmp_path):
    with pytest.raises(UserError, match="not a JSON object compressed with gzip"):
        drafts.keep("A", IMAGE, "page-1", content)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("session", ["", "../x", "x" * 41, "X", ".part-x"])
def test_identifier_of_a_page_is_checked(drafts, session):
    with pytest.raises(UserError, match="no identifier of a page"):
        drafts.keep("A", IMAGE, session, packed())


def test_a_reading_of_a_study_has_its_own_drafts(drafts, tmp_path):
    """In a crossover, the draft of the first reading is not offered in the second, nor one from before the study."""
    study = write_study_file(tmp_path, ["anna", "ben"], [IMAGE], "model_mask: crossover\nwashout_days: 10")
    labels = study_labels(study, tmp_path / "workspace")
    datastore = SimpleNamespace(
        series=lambda image: None, drafts=drafts, labels=labels.labels, list_images=lambda: [IMAGE]
    )
    page = {"params": {"image": IMAGE, "session": "page-1"}}
    other_page = {"params": {"image": IMAGE, "session": "page-2"}}
    now = [0.0]

    def logged_in(request: Request) -> User:
        request.state.view = view()
        return User(username="anna")

    def view() -> View:
        return ReaderView(labels, "anna", now[0])

    drafts.keep("anna", IMAGE, "page-0", packed(reading=0))
    router = draft_router(SimpleNamespace(datastore=lambda: datastore))
    with serve_router(router, overrides={current_user: logged_in}) as url:
        url += "/viewer/draft"
        assert drafted_images(view(), "anna", datastore) == set()
        assert requests.get(url, **other_page).json()["draft"] is None
        owner = requests.put(url, **page, files={"draft": packed(reading=1)}).json()["user"]
        assert requests.get(url, **other_page).json() == {"user": owner, "draft": {"reading": 1}, "problems": []}
        assert drafted_images(view(), "anna", datastore) == {IMAGE}
        submit(labels, "anna", IMAGE, np.ones((2, 2, 2)))
        now[0] = labels.labels.history(IMAGE)[0].time
        assert requests.get(url, **other_page).status_code == 404, "the wash-out"
        assert drafted_images(view(), "anna", datastore) == set()
        now[0] += 11 * 24 * 3600
        second = requests.get(url, **other_page).json()
        assert second["draft"] is None and second["user"] != owner, "the browser keeps unsent drafts by this name"
        assert drafted_images(view(), "anna", datastore) == set()
    assert drafted_images(View(labels.labels), "anna", datastore) == {IMAGE}


def test_routes_keep_a_draft_for_the_user_who_is_logged_in(drafts):
    def series(image: str) -> None:
        if image != IMAGE:
            raise UserError("There is no image.", status=404)

    def logged_in(x_user: str = Header()) -> User:
        return User(username=x_user)

    app = SimpleNamespace(datastore=lambda: SimpleNamespace(series=series, drafts=drafts, labels=None))
    with serve_router(draft_router(app), limit=1000, overrides={current_user: logged_in}) as url:

        def send(method: str, user: str, session: str, image: str = IMAGE, **content: bytes) -> requests.Response:
            return requests.request(
                method,
                f"{url}/viewer/draft",
                params={"image": image, "session": session},
                headers={"X-User": user},
                files={name: (name, part) for name, part in content.items()} or None,
            )

        assert send("PUT", "A", "page-1", draft=packed(base=1)).json() == {"user": "A"}
        assert send("GET", "A", "page-2").json() == {"user": "A", "draft": {"base": 1}, "problems": []}
        assert send("GET", "B", "page-2").json() == {"user": "B", "draft": None, "problems": []}
        assert send("DELETE", "B", "page-1").json() == {"user": "B"}
        assert send("GET", "A", "page-2").json()["draft"] == {"base": 1}
        assert send("PUT", "A", "page-1", draft=os.urandom(2000)).status_code == 413
        assert send("PUT", "A", "page-1", draft=b"junk").status_code == 400
        assert send("PUT", "A", "page-1", image="9.9", draft=packed()).status_code == 404
        assert send("DELETE", "A", "page-1").json() == {"user": "A"}
        assert send("GET", "A", "page-2").json()["draft"] is None
