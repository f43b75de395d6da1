"""A reader study in OHIF: two readers at work at once who see nothing of each other, and the reviewer who decides."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from playwright.sync_api import expect

from lib.datastore.label_store import LabelStore
from lib.identity.roles import Role
from lib.phantoms import Acquisition, study_instance_uid
from tests.browser.ohif import Ohif
from tests.browser.painting import BRUSH_MM, GRID, open_patient, paint, write_patients
from tests.support.browser import WINDOW
from tests.support.reader_study import write_study_file
from tools.support.app_server import monailabel_server
from tools.support.users import PASSWORD, add_users, logged_in
from tools.support.waiting import wait_for

pytestmark = pytest.mark.browser
CASE, OTHER = "IN-STUDY", "ELSEWHERE"
STROKES_OF = {"anna": "mpr-axial", "ben": "mpr-coronal"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("study") / "workspace"


@pytest.fixture(scope="module")
def studies(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("patients")
    write_patients(folder / "dicom", dict.fromkeys((CASE, OTHER), (Acquisition(**GRID), False)))
    return folder / "dicom"


@pytest.fixture(scope="module")
def image(studies) -> str:
    return str(pydicom.dcmread(next((studies / CASE).glob("*.dcm"))).SeriesInstanceUID)


@pytest.fixture(scope="module")
def url(workspace, studies, image) -> Iterator[str]:
    folder = workspace.parent
    file = write_study_file(folder, ["anna", "ben"], [image], "reviewers: [rhea]\npause_seconds: 600")
    add_users(workspace, anna=Role.ANNOTATOR, ben=Role.ANNOTATOR, rhea=Role.REVIEWER, root=Role.ADMIN)
    with monailabel_server(studies, folder, workspace=workspace, study=file) as server:
        anna = logged_in(server.url, "anna")
        wait_for(lambda: anna.get(f"{server.url}/viewer/studies").json(), "the study", seconds=120)
        yield server.url


@pytest.fixture
def browsers(chromium, url) -> Iterator[dict[str, Ohif]]:
    """Yield the viewers of all users, each logged in in a browser of the own; the readers have the case open."""
    found = {name: Ohif(chromium.new_context(**WINDOW).new_page(), url) for name in (*STROKES_OF, "rhea")}
    for name, ohif in found.items():
        ohif.page.goto(f"{url}/login")
        ohif.page.fill("#name", name)
        ohif.page.fill("#password", PASSWORD)
        ohif.page.click("button")
    for ohif in found.values():
        ohif.page.wait_for_url("**/ohif/**")  # the status page leads users of a study to the study list
    for name in STROKES_OF:
        assert list(found[name].open_study_list()) == [study_instance_uid(CASE)]
        found[name].open_monai_label(study_instance_uid(CASE))
    for name in STROKES_OF:
        found[name].wait_until_connected()
    yield found
    for ohif in found.values():
        ohif.page.context.close()


def test_readers_at_work_at_once_are_blinded_and_the_reviewer_decides(browsers, url, workspace, image, screenshot):
    labels = LabelStore(workspace / "labels")
    readers = {name: browsers[name] for name in STROKES_OF}
    for ohif in readers.values():
        ohif.choose_tool("brush", diameter=BRUSH_MM)
    for reader, viewport in STROKES_OF.items():
        paint(readers[reader], viewport)
    wait_for(lambda: len([*(workspace / "drafts").rglob("*.json.gz")]) == 2, "drafts of both readers", seconds=90)
    for ohif in readers.values():
        ohif.undo()
        ohif.redo()
    for reader, ohif in readers.items():
        check_blinded(ohif, reader, image)  # the second one also after the first has submitted
        assert ohif.submit() == "Label 1 is stored."
        screenshot(ohif.page, f"study-{reader}")
    for ohif in readers.values():
        assert ohif.page.locator('[data-part="presence"]').is_hidden()
    first, second = labels.history(image)
    assert [one.info["user"] for one in (first, second)] == [*STROKES_OF]
    assert first.tag != second.tag
    assert (first.info["reading"]["strokes"], first.info["reading"]["undos"]) == (1, 1)
    assert first.info["reading"]["active_seconds"] > 0 and first.info["reading"]["pause_seconds"] == 600
    assert 0 < first.info["lesions"][0]["active_seconds"] <= first.info["reading"]["active_seconds"]

    reviewer = browsers["rhea"]
    wait_for(lambda: reviewer.open_study_list(), "the disagreement", seconds=60)
    open_patient(reviewer, CASE)
    rows = reviewer.page.locator('[data-part="storedRows"] li')
    expect(rows).to_have_count(2)
    assert not [text for text in rows.all_inner_texts() if "anna" in text or "ben" in text]
    assert reviewer.page.locator('[data-part="presence"]').is_hidden()  # though the readers have the case open
    assert reviewer.status("cases").inner_text() == "0 of 1 cases labelled"
    for row in rows.all():
        row.locator('[data-row="show"]').click()  # both outlines together
        expect(row.locator('[data-row="show"]')).to_have_attribute("aria-pressed", "true")
    rows.first.locator('[data-row="load"]').click()
    assert reviewer.message() == "Label 2 is loaded."
    screenshot(reviewer.page, "study-reviewer")
    assert reviewer.submit() == "Label 3 is stored."
    final = labels.in_use(image)["final"]
    assert (final.info["adjudicates"], final.info["user"], final.info["voxels"] > 0) == ([1, 2], "rhea", True)
    (trained,) = logged_in(url, "root").get(f"{url}/datastore/", params={"output": "train"}).json()
    assert (trained["image_id"], trained["label_sha256"]) == (image, final.sha256)


def check_blinded(ohif: Ohif, reader: str, image: str) -> None:
    """Check, after the panel has asked the server again, that nothing tells of another reader at work.

    What a page of this browser can request besides tells nothing either: routes, exports, DICOMweb, drafts and counts.
    """
    with ohif.page.expect_response("**/viewer/case?**"):
        pass
    assert ohif.status("cases").inner_text() == "0 of 1 cases labelled"
    for part in ("load", "stored", "presence", "draft", "labelReview"):
        assert ohif.page.locator(f'[data-part="{part}"]').is_hidden(), part

    def status(path: str) -> int:
        return ohif.page.evaluate("path => fetch(path).then(answer => answer.status)", path)

    def ask(path: str) -> Any:
        return ohif.page.evaluate("path => fetch(path).then(answer => answer.json())", path)

    exports = ("nifti", "csv", "json", "seg", "sr", "rtstruct")
    for path in (
        *(f"/datastore/label?label={image}&output={kind}" for kind in exports),
        *(f"/viewer/label?image={image}&number={number}" for number in (1, 2)),
        f"/datastore/label/info?label={image}&tag=final",
    ):
        assert status(path) == 404, path
    assert {status(path) for path in ("/datastore/dataset", "/datastore/?output=train", "/status/data")} == {403}
    case = ask(f"/viewer/case?image={image}")
    assert (case["label"], case["stored"], case["last_lesion_number"], case["others"]) == (None, [], 0, [])
    assert ask("/datastore/?output=all")["objects"][image]["labels"] == {}
    assert ask("/datastore/")["label_tags"] == {}
    assert ask("/viewer/reading")["submitted"] == ask("/info/")["datastore"]["completed"] == 0
    assert [one["00080060"]["Value"] for one in ask("/proxy/dicom/qido/series")] == [["CT"]]
    assert ask("/proxy/dicom/qido/instances?Modality=SEG") == []
    assert ask(f"/viewer/draft?image={image}&session=another")["user"].partition("\n")[0] == reader
