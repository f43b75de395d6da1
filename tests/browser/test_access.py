"""Access of a foreign page, and of this server's own pages, in a real Chromium."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.browser.ohif import Ohif

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(start_module_server, phantom_studies):
    return start_module_server(phantom_studies.of_patient("LUNG-003").directory)


@pytest.fixture
def requested(page) -> list[str]:
    """Return the list of addresses that the page requests, updated as it requests them."""
    found: list[str] = []
    page.on("request", lambda request: found.append(request.url))
    return found


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """Serve an empty page on another port, which is another origin of the same site; return its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "index.html").write_text("<!doctype html><title>elsewhere</title>")
    handler = functools.partial(Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{other.server_port}/"
        other.shutdown()


def test_s19_s20_nothing_is_loaded_from_other_hosts(server, phantom_studies, page, page_problems, requested):
    """S19, S20: OHIF and the other pages work under their content security policy."""
    for path in ("/", "/status", "/logs/", "/openapi.json"):
        assert page.goto(server.url + path).status == 200
    assert page.goto(f"{server.url}/docs").status == 404
    page_problems.failed_requests.clear()
    page_problems.console_errors.clear()

    ohif = Ohif(page, server.url)
    ohif.open_study_list()
    ohif.open_monai_label(phantom_studies.of_patient("LUNG-003").study_uid)
    ohif.wait_until_connected()
    assert [url for url in requested if not url.startswith((server.url, "data:", "blob:"))] == []
    assert [line for line in page_problems.console_errors if "Content Security Policy" in line] == []
    assert not page_problems.of(server.url)


SIMPLE_REQUESTS = """async ([server, image]) => {
    const send = (path, options) => fetch(server + path, { mode: 'no-cors', ...options }).catch(() => 'blocked');
    await send('/train/lung_tumor', { method: 'POST', body: '{}' });
    await send('/activelearning/first', { method: 'POST', body: new Blob(['{}'], { type: 'text/plain' }) });
    const form = new FormData();
    form.append('label', new Blob(['x']), 'label.bin');
    await send(`/infer/lung_tumor?image=${image}`, { method: 'POST', body: form });
    await send('/proxy/dicom/wado/studies', { method: 'POST', body: new Blob(['x'], { type: 'text/plain' }) });
    const picture = new Image();
    const loaded = new Promise(done => { picture.onload = () => done(true); picture.onerror = () => done(false); });
    picture.src = `${server}/attention/${image}`;
    const frame = document.body.appendChild(document.createElement('iframe'));
    frame.src = `${server}/status`;
    await new Promise(done => frame.addEventListener('load', done));
    return { shown: await loaded, framed: frame.contentDocument };
}"""


def test_s2_s20_page_of_another_origin_cannot_start_anything(server, phantom_studies, page, elsewhere):
    """S2, S20: simple requests, a picture and a frame are refused; a link works."""
    page.goto(elsewhere)
    uid = phantom_studies.of_patient("LUNG-003").series_uid
    seen = page.evaluate(SIMPLE_REQUESTS, [server.url, uid])
    assert seen == {"shown": False, "framed": None}
    # The page cannot read the responses, so check the server's log.
    asked = ("POST /train/lung_tumor", "POST /activelearning/first", "POST /infer/lung_tumor")
    for what in (*asked, "POST /proxy/dicom/wado/studies", f"GET /attention/{uid}", "GET /status"):
        assert f"{what} refused: A web page of another site" in server.log_text()
    assert requests.get(f"{server.url}/train/").status_code == 404, "no training was started"

    page.set_content(f"<a href='{server.url}/ohif/'>the viewer</a>")
    page.get_by_role("link").click()
    page.locator('[data-cy="study-list-results"]').wait_for(timeout=120_000)
