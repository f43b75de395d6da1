"""A preference study in OHIF: what a reader can reach of two outlines, and where the answers stand."""

import json

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
from playwright.sync_api import expect

from lib.datastore.label_store import LabelStore
from lib.identity.roles import Role
from lib.networks import AttentionResidualUNet
from lib.phantoms import Acquisition, chest_volume, study_instance_uid
from lib.reading.stored_readings import compared_tag
from lib.settings import load_info
from tests.browser.ohif import Ohif
from tests.browser.painting import GRID, LESION, write_patients
from tests.support.browser import WINDOW
from tests.support.reader_study import write_study_file
from tests.support.weights import model_dir_with
from tools.support.app_server import monailabel_server
from tools.support.users import PASSWORD, add_users, logged_in
from tools.support.waiting import wait_for

pytestmark = pytest.mark.browser
CASE, ANNA, STRANGER, ADMIN = "COMPARED", "anna", "eve", "root"
TAGS = [compared_tag("nodules", source) for source in ("pretrained", "label")]
TELLING = ("pretrained", "compared-", '"ben"')


def writes(mask):
    """Return a function that writes a mask, (slice, row, column)."""
    return lambda path: sitk.WriteImage(sitk.GetImageFromArray(mask.astype(np.uint8)), str(path))


@pytest.fixture
def server(tmp_path):
    """Return a server with two outlines of one case, and a session of each user; its only version is not trained."""
    write_patients(tmp_path / "dicom", {CASE: (Acquisition(**GRID), False)})
    image = str(pydicom.dcmread(next((tmp_path / "dicom").rglob("*.dcm"))).SeriesInstanceUID)
    mask = chest_volume(31, lesions=(LESION,), acquisition=Acquisition(**GRID))[1] > 0
    labels = LabelStore(tmp_path / "workspace" / "labels")
    size = [*mask.shape[::-1]]
    for tag, voxels, info in (
        (TAGS[1], mask, {"study": {"name": "nodules"}, "annotator": "ben"}),
        (TAGS[0], np.roll(mask, 3, axis=2), {"study": {"name": "nodules"}, "model_version": "pretrained"}),
    ):
        labels.save(image, tag, writes(voxels), {**info, "size": size, "voxels": int(voxels.sum())})
    weights = tmp_path / "weights.pt"
    torch.save(AttentionResidualUNet(**load_info()["network"]).state_dict(), weights)
    file = write_study_file(tmp_path, [ANNA], [image], "kind: preference\ncompare: [pretrained, label]")
    add_users(tmp_path / "workspace", **{ANNA: Role.ANNOTATOR, STRANGER: Role.ANNOTATOR, ADMIN: Role.ADMIN})
    conf = {"study": file, "model_dir": model_dir_with(weights, tmp_path / "weights"), "scored_images": 0}
    with monailabel_server(tmp_path / "dicom", tmp_path, **conf) as running:
        users = {name: logged_in(running.url, name) for name in (ANNA, STRANGER, ADMIN)}
        wait_for(lambda: users[ANNA].get(f"{running.url}/viewer/reading").json()["due"], "the outlines", seconds=120)
        yield running.url, users, labels, image


def page_of(chromium, url, name):
    """Return a page of a browser of its own, in which a user has just logged in."""
    page = chromium.new_context(**WINDOW).new_page()
    page.goto(f"{url}/login")
    page.fill("#name", name)
    page.fill("#password", PASSWORD)
    page.click("button")
    return page


def test_blinded_readers_compare_a_version_with_a_label(server, chromium, screenshot):
    url, users, labels, image = server

    def get(user, path, **query):
        return users[user].get(f"{url}{path}", params=query)

    stored = {tag: labels.in_use(image)[tag] for tag in TAGS}
    answers = {letter: get(ANNA, "/datastore/label", label=image, tag=letter) for letter in "AB"}
    assert {answer.content for answer in answers.values()} == {labels.content(one) for one in stored.values()}
    told = [
        get(ANNA, "/viewer/case", image=image).text,
        get(ANNA, "/datastore/", output="all").text,
        get(ANNA, "/viewer/preference", image=image).text,
        *(get(ANNA, "/datastore/label/info", label=image, tag=letter).text for letter in "AB"),
        *(str(answer.headers) for answer in answers.values()),
    ]
    assert not [text for text in told if any(word in text for word in TELLING)]
    numbers = [one["number"] for one in json.loads(told[0])["stored"]]
    assert (numbers, json.loads(told[0])["label"]) == ([2, 1], None)
    for refused in (
        users[ANNA].post(f"{url}/infer/lung_tumor", params={"image": image}),
        users[ANNA].put(f"{url}/datastore/label", params={"image": image}, files={"label": b"mask"}),
        get(ANNA, f"/attention/{image}"),
        get(ANNA, "/status/data"),
        get(ANNA, "/model/info/lung_tumor"),
        *(get(ANNA, "/datastore/label", label=image, tag=letter, output="seg") for letter in "AB"),
    ):
        assert refused.status_code == 403, refused.text
    query = {"image": image, "lesion": 1, "answer": "A", "shown": "x"}
    for user, status in ((STRANGER, 404), (ADMIN, 403)):
        assert users[user].post(f"{url}/viewer/preference", params=query).status_code == status

    page = page_of(chromium, url, ANNA)
    ohif = Ohif(page, url)
    page.wait_for_url("**/ohif/**")
    ohif.open_study_list()
    ohif.open_monai_label(study_instance_uid(CASE))
    question = page.locator('[data-part="questions"] li')
    expect(question).to_have_count(1)
    for part in ("submit", "skip", "tools", "palette", "result"):
        expect(page.locator(f'[data-part="{part}"]')).to_be_hidden()  # nothing is marked here
    expect(page.locator(".lunglabel-overlay-1")).not_to_have_count(0)  # both outlines, without a click
    expect(page.locator(".lunglabel-overlay-2")).not_to_have_count(0)
    rows = page.locator('[data-part="storedRows"] li')
    expect(rows).to_have_count(2)
    assert not any(word in text for text in rows.all_inner_texts() for word in ("pretrained", "ben", "model"))
    question.locator('[data-question="A"]').click()
    expect(question.locator('[data-question="A"]')).to_have_attribute("aria-pressed", "true")
    assert "all questions about this scan are answered" in ohif.message()
    expect(ohif.status("cases")).to_have_text("1 of 1 cases labelled")
    screenshot(page, "preference")
    page.context.close()

    assert get(ANNA, "/viewer/reading").json()["submitted"] == 1
    assert get(ANNA, "/viewer/status").json()["preferences"] == []
    (result,) = get(ADMIN, "/status/data").json()["preferences"]
    assert get(ADMIN, "/viewer/status").json()["preferences"] == [result["sentence"]]
    is_label = answers["A"].content == labels.content(stored[TAGS[1]])
    assert f"{'label' if is_label else 'pretrained'} better in 1" in result["sentence"]
    page = page_of(chromium, url, ADMIN)
    expect(page.locator("#versions")).to_contain_text(result["sentence"])
    page.context.close()
