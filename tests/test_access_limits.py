"""Limits of size, time and number of connections, on a small server with real sockets."""

import asyncio
import contextlib
import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import requests
import uvicorn
from fastapi import FastAPI, Request, UploadFile
from fastapi.responses import Response

from lib.server.access import connections
from lib.server.access.connections import ConnectionLimits, limit_connections
from lib.server.access.hosts import AllowedHosts
from lib.server.access.listening import Listening
from lib.server.access.middleware import Access, BodyLimits
from lib.server.access.route_table import Body

UPLOAD_LIMIT = 300_000
WAIT = 60  # timeout in seconds, never reached in a passing test


@contextlib.contextmanager
def serving(connections: int = 64, head: float = 30, timeout: float = 30) -> Iterator[tuple[str, int]]:
    """Run a server behind `Access` that responds with the number of bytes read."""
    app = FastAPI()

    @app.put("/datastore/label")
    async def label(label: UploadFile) -> int:
        return len(await label.read())

    @app.post("/proxy/dicom/wado/studies")
    async def store(request: Request) -> int:
        return len(await request.body())

    @app.get("/datastore/image")
    def image() -> Response:
        return Response(b"x" * 50_000_000)

    sizes = {Body.SMALL: 1000, Body.UPLOAD: UPLOAD_LIMIT, Body.DICOM: 10_000}
    limits = BodyLimits(sizes, {Body.UPLOAD: "max_upload_mb", Body.DICOM: "max_stow_mb"}, timeout)
    access = Access(app, AllowedHosts(Listening(("127.0.0.1",), 0)), limits)
    config = uvicorn.Config(access, port=0, lifespan="off", log_config=None, timeout_keep_alive=WAIT)
    config.load()
    limit_connections(config, ConnectionLimits(connections, head))
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        yield listener.getsockname()
        server.should_exit = server.force_exit = True
        thread.join(WAIT)


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with serving() as address:
        yield address


@contextlib.contextmanager
def connected(address: tuple[str, int], text: str = "") -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=WAIT) as connection:
        connection.sendall(text.encode())
        yield connection


def answer(connection: socket.socket) -> bytes:
    """Return everything received until the server closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            received += part
    return received


def url(address: tuple[str, int], path: str) -> str:
    return f"http://{address[0]}:{address[1]}{path}"


HEAD = "Host: localhost\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("method", "path", "size", "chunked"),
    [
        ("PUT", "/datastore/label", UPLOAD_LIMIT + 1, False),
        ("PUT", "/datastore/label", UPLOAD_LIMIT + 1, True),
        ("PUT", "/datastore/label", 50 * UPLOAD_LIMIT, False),
        ("PUT", "/datastore/label", 50 * UPLOAD_LIMIT, True),
        ("POST", "/proxy/dicom/wado/studies", 10_001, False),
        ("POST", "/proxy/dicom/wado/studies", 10_001, True),
        ("POST", "/train/lung_tumor", 1001, False),
        ("POST", "/nowhere", 1001, False),
    ],
)
@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_body_above_the_limit_is_413(address, method, path, size, chunked, connection):
    """S9: by Content-Length before reading, and by counting a chunked body; the response arrives."""
    head = b'--b\r\nContent-Disposition: form-data; name="label"; filename="label.bin"\r\n\r\n'
    body = head + b"x" * (size - len(head))
    parts = (body[i : i + 65_536] for i in range(0, size, 65_536))
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Connection": connection}
    reply = requests.request(method, url(address, path), data=parts if chunked else body, headers=headers, timeout=WAIT)
    assert reply.status_code == 413, reply.text
    assert "larger than" in reply.json()["detail"]
    settings = {"/datastore/label": "max_upload_mb", "/proxy/dicom/wado/studies": "max_stow_mb"}
    if path in settings:  # for Content-Length and chunked bodies alike
        assert f"--conf {settings[path]}" in reply.json()["detail"]


def test_content_length_above_the_limit_is_rejected_before_the_body(address):
    """S9: a client that waits for 100 Continue never sends its body."""
    text = f"PUT /datastore/label HTTP/1.1\r\n{HEAD}Expect: 100-continue\r\nContent-Length: {10 << 30}\r\n\r\n"
    with connected(address, text) as connection:
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 413")


def test_body_up_to_the_limit_is_accepted(address):
    """S9"""
    files = {"label": ("label.bin", b"x" * (UPLOAD_LIMIT - 1000))}
    assert requests.put(url(address, "/datastore/label"), files=files, timeout=WAIT).json() == UPLOAD_LIMIT - 1000
    store = url(address, "/proxy/dicom/wado/studies")
    assert requests.post(store, data=iter([b"x" * 5000, b"x" * 5000]), timeout=WAIT).json() == 10_000


def test_every_response_has_the_security_headers(address):
    """S20: including errors."""
    for path, host in (("/datastore/image", "localhost"), ("/nowhere", "localhost"), ("/info/", "rebind.test")):
        with requests.get(url(address, path), headers={"Host": host}, stream=True, timeout=WAIT) as reply:
            assert "frame-ancestors 'none'" in reply.headers["Content-Security-Policy"]
            assert reply.headers["X-Frame-Options"] == "DENY"
            assert reply.headers["X-Content-Type-Options"] == "nosniff"
            assert reply.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert reply.headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize(
    "text",
    ["", "GET /info/ HTTP/1.1\r\nHost: loc", "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\nGET /"],
    ids=["idle", "half a head", "half a second head"],
)
def test_idle_connections_and_incomplete_headers_time_out(text):
    """S10"""
    with serving(head=0.5) as address, connected(address, text) as connection:
        assert len(answer(connection).split(b"HTTP/1.1")) <= 2


def test_a_connection_that_served_a_request_may_be_idle_for_longer():
    """A server that closes it while the next request is on its way breaks that request: here after 5 s, as uvicorn."""
    with serving(head=0.2) as address, connected(address) as unused:
        client = http.client.HTTPConnection(*address, timeout=WAIT)
        client.request("GET", "/nowhere")
        client.getresponse().read()
        sock = client.sock
        assert answer(unused) == b"", "the time for the headers of a first request is over"
        time.sleep(0.2)
        client.request("GET", "/nowhere")
        assert client.getresponse().status == 404
        assert client.sock is sock
        client.close()
    config = uvicorn.Config("x:y", http="h11")
    config.http_protocol_class = asyncio.Protocol
    limit_connections(config, ConnectionLimits(8, 1))
    assert config.timeout_keep_alive > 60, "longer than nginx keeps its connections to a server"


def test_slowly_sent_headers_time_out():
    """S10: sending a byte now and then does not keep a connection open."""
    with serving(head=0.5) as address, connected(address, "GET /info/ HTTP/1.1\r\nX: ") as connection:
        deadline = time.monotonic() + WAIT
        with pytest.raises(OSError):
            while time.monotonic() < deadline:
                connection.sendall(b"x")
                time.sleep(0.1)


@pytest.mark.parametrize("path", ["PUT /datastore/label", "POST /proxy/dicom/wado/studies"])
def test_stalled_body_is_408(path):
    """S10"""
    text = f"{path} HTTP/1.1\r\n{HEAD}Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 900\r\n\r\n--b"
    with serving(timeout=0.5) as address, connected(address, text) as connection:
        reply = answer(connection)
    assert reply.startswith(b"HTTP/1.1 408"), reply
    assert "too slowly" in json.loads(reply.partition(b"\r\n\r\n")[2])["detail"]


def test_connection_flood_is_503_and_later_clients_are_served(caplog, monkeypatch):
    """S10: a flood of idle connections locks nobody out for long and does not fill the log."""
    monkeypatch.setattr(connections, "_EVICTABLE_SECONDS", 3600)  # a slow machine takes longer than 2 s for the flood
    with serving(connections=16) as address, contextlib.ExitStack() as flood, caplog.at_level(logging.WARNING):
        idle = [flood.enter_context(connected(address)) for _ in range(300)]
        refused = [one for one in idle[-200:] if answer(one).startswith(b"HTTP/1.1 503")]
        assert len(refused) == 200
        monkeypatch.undo()
        deadline = time.monotonic() + WAIT
        while (status := requests.get(url(address, "/nowhere"), timeout=WAIT).status_code) == 503:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert status == 404
        assert len([record for record in caplog.records if "connections" in record.getMessage()]) <= 25


def test_busy_connections_are_not_evicted():
    """S10: only idle ones are."""
    text = f"POST /proxy/dicom/wado/studies HTTP/1.1\r\n{HEAD}Content-Length: 100\r\n\r\n"
    with serving(connections=8) as address, contextlib.ExitStack() as busy:
        at_work = [busy.enter_context(connected(address, text)) for _ in range(8)]
        time.sleep(3)
        with connected(address) as late:
            assert answer(late).startswith(b"HTTP/1.1 503")
        for one in at_work:
            one.setblocking(False)
            with pytest.raises(BlockingIOError):
                one.recv(1)


def test_connection_limit_leaves_file_descriptors_for_other_files(monkeypatch):
    """S10: with 1,024 file descriptors, fewer connections are allowed than configured."""
    import resource

    requested: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: requested.append(limits))
    config = uvicorn.Config("x:y", http="h11")
    config.http_protocol_class = asyncio.Protocol
    seen: list[ConnectionLimits] = []
    monkeypatch.setattr("lib.server.access.connections.limited", lambda base, limits: seen.append(limits) or base)
    limit_connections(config, ConnectionLimits(5000, 1))
    assert requested == [(1024, 1024)]
    assert seen == [ConnectionLimits(768, 1)]
    assert config.backlog <= 128
