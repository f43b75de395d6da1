"""A way to a real PACS that fails as told."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import requests

_SECONDS = 60  # that a silent PACS stays silent, unless its flaw is mended before


class FlawedPacs(ThreadingHTTPServer):
    """Passes requests on to a PACS.

    Attributes:
        url: DICOMweb root, as given to ``--studies``.
        flaw: What is wrong at present: None, ``error`` (it answers 500), ``silent`` (it takes requests and does not
            answer), ``breaks off`` (in the middle of an answer), or ``hangs up`` (on the second request of each
            connection, without an answer).
        asked: How often it was asked, by method.
    """

    daemon_threads = True

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        parts = urlsplit(url)
        self.target = f"{parts.scheme}://{parts.netloc}"
        self.url = f"http://127.0.0.1:{self.server_port}{parts.path}"
        self.flaw: str | None = None
        self.asked = {"GET": 0, "POST": 0}
        self.mended = threading.Event()

    def mend(self) -> None:
        """From now on all is well."""
        self.flaw = None
        self.mended.set()

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that the other side gave up is what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FlawedPacs

    def handle(self) -> None:
        self.requests = 0
        super().handle()

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        self.requests += 1
        self.server.asked[self.command] += 1
        flaw = self.server.flaw
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if flaw == "silent":
            self.server.mended.wait(_SECONDS)
        if flaw == "silent" or (flaw == "hangs up" and self.requests > 1):
            self.close_connection = True
            return
        if flaw == "error":
            self._answer(500, "text/plain", b"The database of the PACS is locked.")
            return
        kept = {name: self.headers[name] for name in ("Accept", "Content-Type") if name in self.headers}
        found = requests.request(self.command, self.server.target + self.path, headers=kept, data=body, timeout=60)
        self._answer(found.status_code, found.headers.get("Content-Type", ""), found.content, flaw == "breaks off")

    def _answer(self, status: int, kind: str, body: bytes, broken_off: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if broken_off else body)
        self.close_connection = broken_off

    def log_message(self, *_: object) -> None:
        """Nothing on the test's screen."""


@contextlib.contextmanager
def flawed_pacs(url: str) -> Iterator[FlawedPacs]:
    """A flawed way to the PACS at ``url``, at first in order."""
    with FlawedPacs(url) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.mend()
            server.shutdown()
            thread.join()
