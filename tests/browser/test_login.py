"""Log-in of people and programs at a real server with local accounts and a real OpenID provider.

Browsers come through the documented nginx: TLS, a host name of its own, and a path prefix.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Page, expect

from lib.identity.accounts import Accounts
from lib.identity.audit_log import AuditLog
from lib.identity.roles import Role
from lib.phantoms import study_instance_uid
from tests.browser.ohif import Ohif
from tests.browser.painting import BRUSH_MM, STORED, open_patient, paint, write_patients
from tests.support.browser import WINDOW
from tests.support.nginx import HOST
from tools.support.oidc_provider import SECRET, OidcProvider
from tools.support.processes import ServerProcess, free_port
from tools.support.users import PASSWORD, add_users
from tools.support.waiting import wait_for

pytestmark = pytest.mark.browser

CHANGED = "battery horse correct"
HTML = {"Accept": "text/html"}
PREFIX = "/lung"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def issuer() -> str:
    """Return the URL of the provider, which is another site than the server's."""
    return f"http://localhost:{free_port()}"


@pytest.fixture(scope="module")
def server(start_module_server, workspace, issuer, tmp_path_factory) -> ServerProcess:
    """Return a server whose provider is away until the fixture `provider` is used."""
    folder = tmp_path_factory.mktemp("studies") / "dicom"
    write_patients(folder, {"HEAD-FIRST": STORED["HEAD-FIRST"]})
    add_users(workspace, ada=Role.ANNOTATOR, rhea=Role.REVIEWER)
    secret = workspace / "secret"
    secret.write_text(f"{SECRET}\n")
    names = {"oidc_issuer": issuer, "oidc_client_id": "lunglabel", "oidc_client_secret_file": secret}
    more = {"oidc_title": "Test Hospital", "allowed_hosts": HOST, "workspace": workspace, "review": "true"}
    return start_module_server(folder, root_path=PREFIX, **names, **more)


@pytest.fixture(scope="module")
def address() -> str:
    """Return the URL of nginx before the server."""
    return f"https://{HOST}:{free_port()}"


@pytest.fixture(scope="module")
def site(server, address, start_nginx) -> str:
    """Return the URL of the server for browsers."""
    start_nginx(server.url, urlsplit(address).port, PREFIX)
    return address + PREFIX


@pytest.fixture(scope="module")
def provider(server, issuer, address, start_oidc_provider) -> OidcProvider:
    callbacks = [f"{url}{PREFIX}/login/oidc/callback" for url in (server.url, address)]
    started = start_oidc_provider(*callbacks, port=urlsplit(issuer).port)
    begin = f"{server.url}/login/oidc"
    wait_for(
        lambda: requests.get(begin, allow_redirects=False).status_code == 303, "the server to ask again", seconds=60
    )
    return started


@pytest.fixture
def page(chromium, page_problems) -> Iterator[Page]:
    """Yield a page of a browser that accepts the self-signed certificate."""
    context = chromium.new_context(**WINDOW, ignore_https_errors=True)
    page = context.new_page()
    page_problems.watch(page)
    yield page
    context.close()


@pytest.fixture
def ohif(page, site) -> Ohif:
    return Ohif(page, site)


def with_token(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def by_password(server: ServerProcess, name: str, password: str) -> requests.Response:
    return requests.post(f"{server.url}/auth/token", data={"username": name, "password": password})


def came_back(server: ServerProcess, provider: OidcProvider, name: str, next: str = "/info/") -> tuple[str, dict]:
    """Return the URL that the provider leads to after a log-in, and the cookies of the browser that began it."""
    begun = requests.get(f"{server.url}/login/oidc", params={"next": next}, allow_redirects=False)
    back = provider.sign_in(begun.headers["Location"], name)
    return back.replace(server.url + PREFIX, server.url), begun.cookies.get_dict()  # nginx removes the prefix


def test_provider_that_is_away_is_a_sentence(server):
    """Local accounts can log in meanwhile, and other requests are answered at once."""
    answer = requests.get(f"{server.url}/login/oidc", headers=HTML)
    assert (answer.status_code, "The identity provider does not answer" in answer.text) == (503, True)
    token = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.e30.eA"
    assert requests.get(f"{server.url}/info/", headers=with_token(token)).status_code == 503
    assert by_password(server, "grace-user", "password of grace-user").status_code == 503
    assert by_password(server, "ada", PASSWORD).status_code == 200


def test_programs_log_in_at_the_provider(server, provider, workspace, slicer_client, tmp_path):
    """Access tokens, and name and password as stock 3D Slicer sends them."""
    token = provider.access_token("grace-annotator")
    headers = with_token(token)
    assert requests.get(f"{server.url}/auth/token/valid", headers=headers).json()["username"] == "grace-annotator"
    assert requests.delete(f"{server.url}/scoring/", headers=headers).status_code == 403
    assert requests.get(f"{server.url}/info/", cookies={"lunglabel_session": token}).status_code == 401
    refused = requests.get(f"{server.url}/info/", headers=with_token(provider.access_token("nobody")))
    assert (refused.status_code, "nobody has no role here" in refused.text) == (403, True)
    refused = requests.get(f"{server.url}/info/", headers=with_token(provider.access_token("ada")))
    assert refused.status_code == 403
    client = slicer_client.MONAILabelClient(server.url, str(tmp_path), client_id="slicer")
    with pytest.raises(slicer_client.MONAILabelClientException, match="401"):
        client.auth_token("grace-annotator", "wrong")
    client.update_auth(client.auth_token("grace-annotator", "password of grace-annotator"))
    assert "lung_tumor" in client.info()["models"]
    assert requests.delete(f"{server.url}/scoring/", headers=client._headers).status_code == 403
    assert by_password(server, "ada", "password of ada").status_code == 401, "a local name is not asked for there"
    logged = [*AuditLog(workspace / "audit.jsonl").entries()][-2:]
    assert {"user": "grace-annotator", "action": "logged in", "subject": "grace-annotator"}.items() <= logged[0].items()


def test_log_in_is_bound_to_the_browser_that_began(server, provider):
    """Log-in CSRF and injected codes: another browser, another log-in, and the second use are refused."""
    url, cookies = came_back(server, provider, "grace-reviewer")
    other_url, other_cookies = came_back(server, provider, "mallory-admin")
    for attempt in (
        requests.get(url, headers=HTML),
        requests.get(url, headers=HTML, cookies=other_cookies),
        requests.get(re.sub("state=[^&]*", f"state={other_url.partition('state=')[2]}", url), cookies=cookies),
        requests.get(re.sub("code=[^&]*", "code=guessed", other_url), cookies=other_cookies),
        requests.get(f"{server.url}/login/oidc/callback?state=%0d%0aX&error=%3Cscript%3E", cookies=cookies),
        requests.get(f"{server.url}/login/oidc/callback", cookies=cookies),
    ):
        assert attempt.status_code == 400
        assert "was not completed. Try again." in attempt.text
        assert "Set-Cookie" not in attempt.headers
    done = requests.get(url, cookies=cookies)
    assert (done.status_code, 'content="0; url=/lung/info/"' in done.text) == (200, True)
    attributes = done.headers["Set-Cookie"]
    assert re.search(r"lunglabel_session=[^;]{40,}; HttpOnly; Max-Age=43200; Path=/lung; SameSite=strict", attributes)
    assert requests.get(url, cookies=cookies).status_code == 400, "single use"
    session = {"lunglabel_session": done.cookies["lunglabel_session"]}
    user = requests.get(f"{server.url}/viewer/status", cookies=session).json()["user"]
    assert user == {"name": "grace-reviewer", "role": "reviewer"}


def test_log_in_at_the_provider_leads_to_no_other_site(server, provider):
    url, cookies = came_back(server, provider, "grace-user", next="https://evil.example/")
    assert 'content="0; url=/lung/status"' in requests.get(url, cookies=cookies).text
    foreign = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert requests.get(f"{server.url}/login/oidc", headers=foreign, allow_redirects=False).status_code == 403
    url, cookies = came_back(server, provider, "ada")
    refused = requests.get(url, cookies=cookies, headers=foreign)
    assert (refused.status_code, "ada has no role here" in refused.text) == (403, True)


def test_browser_logs_in_at_the_provider(page, site, provider, screenshot, page_problems):
    """From a deep link and back to it, over another site, with a Secure, SameSite=Strict cookie."""
    page.goto(f"{site}/status?from=a-link")
    screenshot(page, "login-with-provider")
    page.get_by_role("link", name="Log in with Test Hospital").click()
    page.wait_for_url(f"{provider.issuer}/**")
    page.get_by_label("Name").fill("grace-annotator")
    page.get_by_label("Password").fill("password of grace-annotator")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{site}/status?from=a-link")
    expect(page.locator("#account")).to_contain_text("grace-annotator")
    [session] = page.context.cookies(site)
    assert (session["name"], session["domain"], session["path"]) == ("lunglabel_session", HOST, PREFIX)
    assert (session["secure"], session["httpOnly"], session["sameSite"]) == (True, True, "Strict")
    assert not page_problems.of(site)
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{provider.issuer}/**")
    page.get_by_role("button", name="Yes, sign me out").click()
    page.wait_for_url(f"{site}/login")
    assert page.goto(f"{site}/viewer/status").status == 401
    page.goto(f"{site}/login")
    page.get_by_role("link", name="Log in with Test Hospital").click()
    expect(page.get_by_label("Password")).to_be_visible()  # the session at the provider has ended, too


@pytest.fixture
def reviewer(chromium, site) -> Iterator[Ohif]:
    """Yield the viewer of a reviewer, in another browser."""
    context = chromium.new_context(**WINDOW, ignore_https_errors=True)
    yield Ohif(context.new_page(), site)
    context.close()


def log_in_by_form(page, password: str, name: str = "ada") -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def test_mask_survives_the_end_of_the_session_and_is_reviewed(
    ohif, reviewer, site, workspace, screenshot, page_problems
):
    """Log-in by the form, the panel's line of the user, log-in again in another tab, review, and log-out.

    OHIF and the panel work below a path prefix (R14).
    """
    page = ohif.page
    page.goto(f"{site}/status")
    log_in_by_form(page, "wrong")
    expect(page.get_by_role("alert")).to_have_text("Name or password is wrong.")
    screenshot(page, "login-failed")
    log_in_by_form(page, PASSWORD)
    page.wait_for_url(f"{site}/status")
    page.goto("about:blank")
    page_problems.failed_requests.clear()  # of the wrong password, and what the status page did not wait for
    open_patient(ohif, "HEAD-FIRST")
    account = page.locator('[data-part="account"]')
    expect(account).to_contain_text("ada (annotator)")
    expect(page.locator('[data-part="annotator"]')).to_be_hidden()
    ohif.choose_tool("brush", diameter=BRUSH_MM)
    paint(ohif, "mpr-axial")
    painted = ohif.labelmap().values.copy()
    screenshot(page, "panel-logged-in")
    assert not page_problems.of(site)

    Accounts(workspace / "users.json").change("ada", password=CHANGED)  # ends all sessions
    again = account.get_by_role("link", name="Log in again")
    expect(again).to_be_visible()
    refused = ohif.press("submit")
    screenshot(page, "panel-session-ended")
    assert "session has ended" in refused
    with page.expect_popup() as opened:
        again.click()
    log_in_by_form(opened.value, CHANGED)
    opened.value.wait_for_url(f"{site}/status")
    opened.value.close()
    expect(again).to_be_hidden()
    assert (ohif.labelmap().values == painted).all()
    ohif.button("submit").click()
    expect(page.locator('[data-part="message"].success')).to_have_text("Label 1 is stored.")
    entry = next(one for one in AuditLog(workspace / "audit.jsonl").entries() if "label" in one["action"])
    assert (entry["user"], entry["action"], entry["status"]) == ("ada", "labelled", "200")
    check_review(ohif, reviewer, screenshot)
    said = [one for one in AuditLog(workspace / "audit.jsonl").entries() if one["action"] in ("approved", "sent back")]
    assert [(one["user"], one["action"], one["number"]) for one in said] == [
        ("rhea", "sent back", "1"),
        ("rhea", "approved", "2"),
    ]
    account.get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{site}/login")
    assert study_instance_uid("HEAD-FIRST") not in page.content()


def check_review(annotator: Ohif, reviewer: Ohif, screenshot) -> None:
    """Let the reviewer, who has the case open at the same time, send the label back and approve the corrected one."""
    review, presence = (
        [one.page.locator(f'[data-part="{part}"]') for one in (annotator, reviewer)]
        for part in ("labelReviewText", "presence")
    )
    reviewer.page.goto(f"{reviewer.server_url}/login")
    log_in_by_form(reviewer.page, PASSWORD, "rhea")
    reviewer.page.wait_for_url("**/status")
    expect(reviewer.page.locator("#cases")).to_contain_text("label 1 by ada")
    expect(reviewer.page.locator("#cases")).to_contain_text("waiting for review")
    open_patient(reviewer, "HEAD-FIRST")
    expect(presence[1]).to_have_text("ada has this scan open.")
    expect(presence[0]).to_have_text("rhea has this scan open.")
    for text in review:
        expect(text).to_have_text("Waiting for review")
    assert annotator.button("approve").is_hidden()
    assert "what is to be corrected" in reviewer.press("sendBack")
    reviewer.page.fill('[data-part="reviewNote"]', "Mind the hilum.")
    screenshot(reviewer.page, "review")
    assert reviewer.press("sendBack") == "Label 1 is sent back."
    expect(review[0]).to_have_text(re.compile(r"^Sent back by rhea, .*: Mind the hilum\.$"))
    screenshot(annotator.page, "sent-back")
    paint(annotator, "mpr-coronal")
    assert annotator.submit() == "Label 2 is stored."
    expect(review[1]).to_have_text("Waiting for review")
    assert reviewer.press("approve") == "Label 2 is approved."
    expect(review[0]).to_have_text(re.compile("^Approved by rhea, "))
