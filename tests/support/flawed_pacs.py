"""A proxy in front of a real PACS with faults that can be switched on."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import requests

_SILENT_SECONDS = 60  # unless the fault is cleared earlier


class FlawedPacs(ThreadingHTTPServer):
    """Proxy that forwards requests to a PACS.

    Attributes:
        url: DICOMweb root, as given to ``--studies``.
        flaw: Current fault: None, ``error`` (responds 500), ``silent`` (accepts requests without responding),
            ``breaks off`` (closes in the middle of a response) or ``hangs up`` (closes without a response on the
            second request of each connection).
        calls: Number of requests per method.
    """

    daemon_threads = True

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        parts = urlsplit(url)
        self.target = f"{parts.scheme}://{parts.netloc}"
        self.url = f"http://127.0.0.1:{self.server_port}{parts.path}"
        self.flaw: str | None = None
        self.calls = {"GET": 0, "POST": 0}
        self.mended = threading.Event()

    def mend(self) -> None:
        """Clear the fault and wake up waiting requests."""
        self.flaw = None
        self.mended.set()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore connections closed by the client."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FlawedPacs

    def handle(self) -> None:
        self.requests = 0
        super().handle()

    def do_GET(self) -> None:
        self._forward()

    def do_POST(self) -> None:
        self._forward()

    def _forward(self) -> None:
        self.requests += 1
        self.server.calls[self.command] += 1
        flaw = self.server.flaw
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if flaw == "silent":
            self.server.mended.wait(_SILENT_SECONDS)
        if flaw == "silent" or (flaw == "hangs up" and self.requests > 1):
            self.close_connection = True
            return
        if flaw == "error":
            self._respond(500, "text/plain", b"The database of the PACS is locked.")
            return
        kept = {name: self.headers[name] for name in ("Accept", "Content-Type") if name in self.headers}
        found = requests.request(self.command, self.server.target + self.path, headers=kept, data=body, timeout=60)
        self._respond(found.status_code, found.headers.get("Content-Type", ""), found.content, flaw == "breaks off")

    def _respond(self, status: int, kind: str, body: bytes, broken_off: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if broken_off else body)
        self.close_connection = broken_off

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def flawed_pacs(url: str) -> Iterator[FlawedPacs]:
    """Yield a proxy in front of the PACS at ``url``, without a fault at first."""
    with FlawedPacs(url) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.mend()
            server.shutdown()
            thread.join()
