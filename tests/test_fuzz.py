"""That the fuzzer's checks can fail, and that a case is the same each time."""

import socket
import threading
from http import HTTPStatus
from typing import Annotated

import numpy as np
import pytest
import SimpleITK as sitk
from fastapi import FastAPI, Form, UploadFile

from lib.datastore.label_reader import read_label
from lib.errors import UserError
from tools.fuzz.api_requests import ApiRequests
from tools.fuzz.bad_clients import as_a_bad_client
from tools.fuzz.dicomweb_requests import dicomweb_request
from tools.fuzz.exchange import Exchange, problem_of, send
from tools.fuzz.foreign_requests import as_foreign_request
from tools.fuzz.image_mutations import mutated_image


@pytest.fixture
def answering():
    """``answering(bytes)``: address of a server that answers one request with these bytes."""
    listeners = []

    def start(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.close()


def _answer(status: int, body: bytes) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (_answer(200, b"{}"), None),
        (_answer(404, b"{}"), None),
        (_answer(503, b"not now"), None),
        (_answer(500, b"oh"), "500"),
        (_answer(400, b"Traceback (most recent call last): ..."), "traceback"),
        (b"", "no answer"),
    ],
)
def test_a_bad_answer_is_noticed(answering, answer, problem):
    exchange = Exchange("GET", "/info/")
    found = problem_of(exchange, send(answering(answer), exchange, timeout=10))
    assert found is None if problem is None else problem in found


def test_a_request_that_was_broken_off_needs_no_answer(answering):
    exchange = Exchange("PUT", "/datastore/label", body=b"x", length=1000)
    assert problem_of(exchange, send(answering(b""), exchange, timeout=10)) is None


@pytest.mark.parametrize(("status", "noticed"), [(200, True), (307, True), (400, False), (403, False), (503, True)])
def test_an_answer_to_a_foreign_page_or_host_is_noticed(answering, status, noticed):
    """S2, S4: whatever the fuzzer sends as somebody else must be refused."""
    rng = np.random.default_rng(status)
    for _ in range(20):
        exchange = as_foreign_request(Exchange("GET", "/info/"), rng)
        found = problem_of(exchange, send(answering(_answer(status, b"{}")), exchange, timeout=10))
        assert (found is not None) is noticed, exchange


@pytest.mark.parametrize("headers", [{"Host": "elsewhere"}, {"Accept": "\0"}])
def test_what_is_no_http_may_be_hung_up_on(answering, headers):
    exchange = Exchange("PUT", "/datastore/label", headers, b"x" * 100)
    assert problem_of(exchange, send(answering(b""), exchange, timeout=10)) is None


@pytest.mark.parametrize("case", range(20))
def test_a_case_is_the_same_each_time(case):
    grid = sitk.Image(8, 7, 6, sitk.sitkUInt8)
    known = {"study": "1.2", "series": "1.3", "instance": "1.4"}
    first, second = (np.random.default_rng(case) for _ in range(2))
    assert mutated_image(grid, first)[1:] == mutated_image(grid, second)[1:]
    request, same = (dicomweb_request(known, [b"x"], rng) for rng in (first, second))
    assert request == same
    assert as_a_bad_client(request, first) == as_a_bad_client(request, second)


def test_requests_from_the_openapi_document_are_the_same_each_time_and_use_known_values():
    app = FastAPI()

    @app.put("/datastore/label")
    def label(image: str, label: UploadFile, params: Annotated[str, Form()] = "{}") -> None: ...

    @app.post("/train/{model}")
    def train(model: str, params: dict | None = None) -> None: ...

    def examples() -> list[list[Exchange]]:
        api = ApiRequests(app.openapi(), {"image": "1.2.3", "model": "lung_tumor"})
        return [api.examples(number, 25) for number in range(4)]

    first = examples()
    assert first == examples()
    requests = [exchange for case in first for exchange in case]
    assert {exchange.method for exchange in requests} == {"PUT", "POST"}
    assert any("image=1.2.3" in exchange.target for exchange in requests)
    assert any(exchange.target.startswith("/train/lung_tumor") for exchange in requests)


def test_a_label_that_claims_ten_gigabytes_is_refused_before_it_is_read(tmp_path):
    image = tmp_path / "image.nrrd"
    sitk.WriteImage(sitk.Image(8, 7, 6, sitk.sitkInt16), str(image))
    label = tmp_path / "label.nrrd"
    label.write_text("NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2154 2154 2154\nencoding: raw\n\n")
    with pytest.raises(UserError, match="GiB of voxels, more than"):
        read_label(label, image, {"lung_tumor": 1})
