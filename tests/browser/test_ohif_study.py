"""A reader study in OHIF: two readers who see nothing of each other, and the reviewer who decides."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from playwright.sync_api import expect

from lib.datastore.label_store import LabelStore
from lib.identity.roles import Role
from lib.phantoms import Acquisition, study_instance_uid
from tests.browser.ohif import Ohif
from tests.browser.painting import BRUSH_MM, GRID, open_patient, paint, write_patients
from tests.support.reader_study import write_study_file
from tools.support.app_server import monailabel_server
from tools.support.users import PASSWORD, add_users, logged_in
from tools.support.waiting import wait_for

pytestmark = pytest.mark.browser
CASE, OTHER = "IN-STUDY", "ELSEWHERE"


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
    add_users(workspace, anna=Role.ANNOTATOR, ben=Role.ANNOTATOR, rhea=Role.REVIEWER)
    with monailabel_server(studies, folder, workspace=workspace, study=file) as server:
        anna = logged_in(server.url, "anna")
        wait_for(lambda: anna.get(f"{server.url}/viewer/studies").json(), "the study", seconds=120)
        yield server.url


@pytest.fixture
def opened_by(chromium, url) -> Iterator[Callable[[str], Ohif]]:
    """Return ``opened_by(name)``, which logs a user in in a browser of the own and opens the case."""
    contexts = []

    def opened(name: str) -> Ohif:
        contexts.append(chromium.new_context(viewport={"width": 1366, "height": 768}))
        ohif = Ohif(contexts[-1].new_page(), url)
        ohif.page.goto(f"{url}/login")
        ohif.page.fill("#name", name)
        ohif.page.fill("#password", PASSWORD)
        ohif.page.click("button")
        ohif.page.wait_for_url("**/ohif/**")  # the status page leads users of a study to the study list
        assert list(ohif.open_study_list()) == [study_instance_uid(CASE)]
        open_patient(ohif, CASE)
        return ohif

    yield opened
    for context in contexts:
        context.close()


def test_readers_are_blinded_and_the_reviewer_decides(opened_by, workspace, image, screenshot):
    labels = LabelStore(workspace / "labels")
    for reader, viewport in {"anna": "mpr-axial", "ben": "mpr-coronal"}.items():
        ohif = opened_by(reader)
        assert ohif.status("cases").inner_text() == "0 of 1 cases labelled"
        assert ohif.button("load").is_hidden()  # nothing is stored, as far as this reader can see
        ohif.choose_tool("brush", diameter=BRUSH_MM)
        paint(ohif, viewport)
        ohif.undo()
        ohif.redo()
        assert ohif.submit() == "Label 1 is stored."
        screenshot(ohif.page, f"study-{reader}")
        ohif.page.context.close()
    first, second = labels.history(image)
    assert [one.info["user"] for one in (first, second)] == ["anna", "ben"]
    assert first.tag != second.tag
    assert (first.info["reading"]["strokes"], first.info["reading"]["undos"]) == (1, 1)
    assert first.info["reading"]["active_seconds"] > 0 and first.info["reading"]["pause_seconds"] == 600
    assert 0 < first.info["lesions"][0]["active_seconds"] <= first.info["reading"]["active_seconds"]

    reviewer = opened_by("rhea")
    rows = reviewer.page.locator('[data-part="storedRows"] li')
    expect(rows).to_have_count(2)
    assert not [text for text in rows.all_inner_texts() if "anna" in text or "ben" in text]
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
