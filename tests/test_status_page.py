"""The status page, as JSON and in a real browser."""

import pytest
import requests
from playwright.sync_api import expect

from tests.browser.ohif import Ohif
from tests.support.client import put_label, wait_until_indexed


@pytest.mark.browser
def test_page_shows_cases_labels_and_settings(start_server, phantom_studies, page, screenshot):
    server = start_server(phantom_studies.directory, threshold=0.6)
    wait_until_indexed(server)
    series = phantom_studies.of_patient("LUNG-003")
    _, thick = (series for series in phantom_studies.series if series.patient_id == "LUNG-005")
    assert put_label(server, series.series_uid, series.truth).status_code == 200
    data = requests.get(f"{server.url}/status/data").json()
    assert len(data["cases"]) == len(phantom_studies.series)
    (labelled,) = [case for case in data["cases"] if case["label"]]
    assert labelled["series"] == series.series_uid
    assert data["serving"] is None
    assert data["shipped"] is None

    page.goto(f"{server.url}/status")
    page.wait_for_selector("#cases tr td")
    assert page.locator("#cases tr").count() == len(phantom_studies.series) + 1
    assert f"1 of {len(phantom_studies.series)}" in page.locator(".number").first.inner_text()
    page.get_by_role("button", name="labelled 1").click()
    assert page.locator("#cases tr").count() == 2
    page.get_by_role("button", name="all").click()
    page.locator("#search").fill("lung-005 thick")
    assert page.locator("#cases tr").count() == 1
    page.locator("#search").fill("lung-005")
    assert page.locator("#cases tr").count() == 3
    page.locator("#search").fill("")
    assert "0.6 0.4 --conf" in " ".join(page.locator("#settings tr", has_text="infer.threshold").inner_text().split())
    assert "pretrained" not in page.locator("#versions").inner_text()
    screenshot(page, "status")

    verdict = {"publish": False, "reason": "No numbers.", "candidate": {"dice": None, "false_positives": None}}
    diverged = {"version": "00001", "parent": None, "time": 0, "labels": {}, "verdict": verdict}
    first = [{"image_id": "1", "time": number, "dice": 0.5 + number / 10, "model_version": "m"} for number in (1, 2)]
    shown = {**data, "versions": [diverged, diverged], "first_scores": first}
    now = requests.get(f"{server.url}/viewer/status").json()
    now["versions"][1]["kept"] = {"version": "00001", "verdict": "you decide"}
    page.route("**/status/data", lambda route: route.fulfill(json=shown))
    page.route("**/viewer/status", lambda route: route.fulfill(json=now))
    page.reload()
    page.wait_for_selector("#cases tr td")  # C9: missing scores do not break the page
    assert "No numbers." in page.locator("#versions").inner_text()
    assert not page.locator("#problem").inner_text()
    assert "Dice of the model in use on each new label" in page.locator("#charts").inner_text()
    with page.expect_response(lambda answer: "/model/lung_tumor_click/serve?version=00001" in answer.url):
        page.get_by_role("button", name="Use it").click()
    expect(page.locator("#problem")).to_contain_text("There is no model version '00001'")
    page.unroute("**/status/data")
    page.unroute("**/viewer/status")

    many = [{**labelled, "label": None, "patient": f"P{n:04}", "warnings": ["the same note"]} for n in range(1000)]
    excluded = [{**case, "problem": "one reason"} for case in many]
    page.route("**/status/data", lambda route: route.fulfill(json={**data, "cases": many, "left_out": excluded}))
    page.reload()
    page.wait_for_selector("#cases tr td")
    assert page.locator("#cases tr").count() == 101
    assert page.locator("#warnings li").all_text_contents() == ["the same note (1000)"]
    assert page.locator("#left-out tr").count() == 2
    page.locator("#more").click()
    assert page.locator("#cases tr").count() == 1001
    screenshot(page, "status-1000")
    page.unroute("**/status/data")
    page.reload()

    page.locator("#cases tr", has_text="Chest 5 mm").get_by_role("link").click()
    ohif = Ohif(page, server.url)
    ohif.wait_until_connected()
    assert ohif.series() == thick.series_uid, "the link opens the selected series"
