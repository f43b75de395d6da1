"""S1: ``/proxy/dicom`` passes only the resources that viewers need to the PACS."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from pydicom import dcmread

from lib.dicomweb import multipart, resources
from lib.errors import UserError
from lib.phantoms import write_dicom_series
from lib.server.pacs_routes import pacs_router
from tests.support.flawed_pacs import flawed_pacs
from tests.support.routes import serve_router
from tests.support.stow import instance_bytes
from tools.fuzz.proxy_paths import escaping_paths

UID = "1.2.840.10008.1"
STUDY = f"wado/studies/{UID}"
HOSTILE = [
    "..%2fsystem",
    "qido/..%2fsystem",
    "qido/%2e%2e/%2e%2e/system",
    "qido/..%252f..%252fsystem",
    "qido/%25252e%25252e/system",
    "qido/../system",
    "qido/./studies",
    "qido/studies%3fx=1",
    "qido/studies%23x",
    "qido/studies%253f",
    f"{STUDY}/..%2f..%2f..%2fpatients/metadata",
    f"{STUDY}/series//metadata",
    f"{STUDY}%2f%2fmetadata",
    f"wado//studies/{UID}/metadata",
    "qido/studies/",
    f"{STUDY}/..%5c..%5csystem",
    f"{STUDY}%0d%0aX-Evil:%201/metadata",
    f"{STUDY}%00/metadata",
    "qido/studies?PatientID=x%0d%0aX-Evil:%201",
    "qido/studies?PatientID=%2500",
    "%25" + "25" * 12 + "2e/x",
]
UNKNOWN = [
    "studies",
    "system/x",
    "qido/patients",
    "qido/system",
    "qido/tools/execute-script",
    f"{STUDY}/series/{UID}/instances/{UID}/frames/x",
    f"{STUDY}/series/{UID}/instances/{UID}/bulkdata/7fe00010",
    f"{STUDY}/series/{UID}/instances/{UID}/frames/1/rendered",
    "qido/studies/%2a/series",
    f"{STUDY} /metadata".replace(" ", "%20"),
]


class Recorder(ThreadingHTTPServer):
    """A PACS that answers 200 to every request and records (method, target, body)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str, bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/root/dicom-web"


class _Handler(BaseHTTPRequestHandler):
    server: Recorder

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    do_GET = do_POST = do_PUT = do_DELETE = _answer

    def log_message(self, *_: object) -> None:
        """Suppress the log output."""


@pytest.fixture(scope="module")
def recorder():
    with Recorder() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


@pytest.fixture(scope="module")
def proxy(recorder, tmp_path_factory):
    with serve_router(pacs_router(recorder.url, tmp_path_factory.mktemp("uploads"), writable=False)) as url:
        yield url


@pytest.fixture(scope="module")
def writing_proxy(recorder, tmp_path_factory):
    with serve_router(pacs_router(recorder.url, tmp_path_factory.mktemp("uploads"), writable=True)) as url:
        yield url


@pytest.fixture(autouse=True)
def _clear_recorder(recorder):
    recorder.asked.clear()


def ask(url: str, path: str, method: str = "GET", body: bytes = b"", headers: dict | None = None) -> tuple[int, str]:
    """Send a path unchanged; requests would normalise dots in it."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.putrequest(method, f"/proxy/dicom/{path}", skip_accept_encoding=True)
    for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    told = answer.read().decode()
    connection.close()
    return answer.status, told


@pytest.mark.parametrize("path", HOSTILE)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_s1_path_traversal_is_never_forwarded(proxy, recorder, path, method):
    status, told = ask(proxy, path, method)
    # no route matches a path with a line break
    assert status == (404 if "%0a" in path and "?" not in path else 400), told
    assert "detail" in told
    assert recorder.asked == []


@pytest.mark.parametrize("path", UNKNOWN)
def test_s1_unknown_resources_are_404(proxy, recorder, path):
    assert ask(proxy, path)[0] == 404
    assert recorder.asked == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("resource", [r for r in resources.RESOURCES if r.method == "GET"], ids=lambda r: r.path)
def test_s1_resources_accept_only_their_methods(proxy, recorder, resource, method):
    if method == "POST" and any(r.path == resource.path and r.method == "POST" for r in resources.RESOURCES):
        return
    assert ask(proxy, f"qido/{path_of(resource)}", method)[0] == 405
    assert recorder.asked == []


def path_of(resource: resources.Resource) -> str:
    return resource.path.format(study=UID, series=f"{UID}.2", instance=f"{UID}.3", frames="1,2")


@pytest.mark.parametrize("resource", [r for r in resources.RESOURCES if r.method == "GET"], ids=lambda r: r.path)
@pytest.mark.parametrize("service", resources.SERVICES)
def test_viewer_requests_are_forwarded_unchanged(proxy, recorder, resource, service):
    query = "limit=101&00100020=A%26B&PatientName=M%C3%BCller*&includefield=00081030,00080060"
    assert ask(proxy, f"{service}/{path_of(resource)}?{query}")[0] == 200
    assert recorder.asked == [("GET", f"/root/dicom-web/{path_of(resource)}?{query}", b"")]


def test_s1_random_traversal_attempts_are_never_forwarded(proxy, recorder):
    """S1: every forwarded request is below the DICOMweb root and matches a known resource."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        path = escaping_paths(rng)
        status, told = ask(proxy, path)
        assert status in (200, 400, 404), (path, told)
    for _, target, _ in recorder.asked:
        path = urlsplit(target).path.removeprefix("/root/dicom-web/")
        assert any(resource.pattern.fullmatch(path) for resource in resources.RESOURCES), target


def test_path_is_decoded_completely():
    assert resources.decoded_path(b"/a%2fb/%2563") == "/a/b/c"
    with pytest.raises(UserError, match="percent-encoded more than"):
        resources.decoded_path(b"%" + b"25" * 20 + b"41")


def test_s1_pacs_is_written_to_only_if_allowed(proxy, writing_proxy, recorder):
    seg = instance_bytes("seg")
    body, kind = multipart.encode([seg], "application/dicom")
    status, told = ask(proxy, "stow/studies", "POST", body, {"Content-Type": kind})
    assert status == 403
    assert "store_in_pacs" in told
    assert recorder.asked == []
    assert ask(writing_proxy, "stow/studies", "POST", body, {"Content-Type": kind})[0] == 200
    assert recorder.asked == [("POST", "/root/dicom-web/studies", body)]


def test_s3_only_objects_derived_from_images_are_stored_in_the_pacs(writing_proxy, recorder):
    body, kind = multipart.encode([instance_bytes("seg"), instance_bytes("ct")], "application/dicom")
    status, told = ask(writing_proxy, "stow/studies", "POST", body, {"Content-Type": kind})
    assert status == 409
    assert "CT Image Storage" in told
    assert ask(writing_proxy, "stow/studies", "POST", body, {"Content-Type": "text/plain"})[0] == 415
    assert recorder.asked == []


def test_request_that_may_have_been_stored_is_not_retried(recorder, tmp_path):
    body, kind = multipart.encode([instance_bytes("seg")], "application/dicom")
    with flawed_pacs(recorder.url) as pacs, serve_router(pacs_router(pacs.url, tmp_path, writable=True)) as url:
        pacs.flaw = "hangs up"
        answers = [ask(url, "stow/studies", "POST", body, {"Content-Type": kind})[0] for _ in range(2)]
    assert pacs.calls["POST"] == 2
    assert 502 in answers


@pytest.mark.pacs
def test_s1_only_dicomweb_of_a_real_pacs_is_reachable(orthanc, tmp_path):
    """S1: the requests of the report, against Orthanc."""
    write_dicom_series(tmp_path / "ct", np.zeros((3, 16, 16), np.int16), np.eye(4), patient_id="P1")
    study_uid = dcmread(next((tmp_path / "ct").iterdir())).StudyInstanceUID
    pacs = orthanc(tmp_path / "ct", user="reader", password="secret")
    router = pacs_router(pacs.url, tmp_path / "uploads", writable=True, login=pacs.auth)
    with serve_router(router) as url:
        for path in (
            "..%2fsystem",
            "qido/..%2fpatients",
            "qido/%2e%2e/system",
            "qido/..%2fsystem%3f",
            "..%2fsystem%23",
        ):
            status, told = ask(url, path)
            assert status == 400
            assert "Orthanc" not in told
        body = b'{"Resources": []}'
        assert ask(url, "..%2ftools%2fbulk-delete", "POST", body)[0] == 400
        assert ask(url, f"wado/studies/{study_uid}", "DELETE")[0] == 405
        found = requests.get(f"{url}/proxy/dicom/qido/studies", params={"PatientID": "P1"}, timeout=30).json()
        assert [study["0020000D"]["Value"] for study in found] == [[study_uid]]
        body, kind = multipart.encode([instance_bytes("seg")], "application/dicom")
        assert ask(url, "stow/studies", "POST", body, {"Content-Type": kind})[0] == 200
        assert len(requests.get(f"{url}/proxy/dicom/qido/studies", timeout=30).json()) == 2


def test_s11_search_values_are_not_logged(tmp_path, caplog):
    """S11: the error of requests contains the whole URL."""
    with serve_router(pacs_router("http://127.0.0.1:9/dicom-web", tmp_path, writable=False)) as url:
        status, told = ask(url, "qido/studies?PatientName=DOE&00100020=4711")
    assert status == 502, told
    assert "PACS did not respond to GET http://127.0.0.1:9/dicom-web/studies: ConnectionError" in caplog.text
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("lib.")]
    assert not [line for line in ours if "DOE" in line or "4711" in line]
