"""The fuzzer's own checks: they can fail, and cases are reproducible."""

import socket
import threading
from http import HTTPStatus
from typing import Annotated

import numpy as np
import pytest
import SimpleITK as sitk
from fastapi import FastAPI, Form, UploadFile
from joserfc.jwk import KeySet

from lib.datastore.label_reader import read_label
from lib.errors import UserError
from lib.identity.oidc.tokens import InvalidToken, looks_like_jwt, verify_access_token
from tools.fuzz.api_requests import ApiRequests
from tools.fuzz.bad_clients import as_a_bad_client
from tools.fuzz.dicomweb_requests import dicomweb_request
from tools.fuzz.exchange import Exchange, problem_of, send
from tools.fuzz.foreign_requests import as_foreign_request
from tools.fuzz.forged_tokens import forged_access_token
from tools.fuzz.image_mutations import mutated_image
from tools.fuzz.token_issuer import CLIENT, TokenIssuer


@pytest.fixture
def responder():
    """Return ``responder(bytes)``, which starts a server that responds once with these bytes and returns its URL."""
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


def _response(status: int, body: bytes) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (_response(200, b"{}"), None),
        (_response(404, b"{}"), None),
        (_response(503, b"not now"), None),
        (_response(500, b"oh"), "500"),
        (_response(400, b"Traceback (most recent call last): ..."), "traceback"),
        (b"", "no answer"),
    ],
)
def test_detects_a_bad_response(responder, answer, problem):
    exchange = Exchange("GET", "/info/")
    found = problem_of(exchange, send(responder(answer), exchange, timeout=10))
    assert found is None if problem is None else problem in found


def test_incomplete_request_needs_no_response(responder):
    exchange = Exchange("PUT", "/datastore/label", body=b"x", length=1000)
    assert problem_of(exchange, send(responder(b""), exchange, timeout=10)) is None


@pytest.mark.parametrize(("status", "detected"), [(200, True), (307, True), (400, False), (403, False), (503, True)])
def test_detects_an_accepted_foreign_request(responder, status, detected):
    """S2, S4: every request sent with a foreign origin or host must be rejected."""
    rng = np.random.default_rng(status)
    for _ in range(20):
        exchange = as_foreign_request(Exchange("GET", "/info/"), rng)
        found = problem_of(exchange, send(responder(_response(status, b"{}")), exchange, timeout=10))
        assert (found is not None) is detected, exchange


@pytest.mark.parametrize("headers", [{"Host": "elsewhere"}, {"Accept": "\0"}])
def test_connection_may_be_closed_on_invalid_http(responder, headers):
    exchange = Exchange("PUT", "/datastore/label", headers, b"x" * 100)
    assert problem_of(exchange, send(responder(b""), exchange, timeout=10)) is None


@pytest.mark.parametrize("case", range(20))
def test_cases_are_reproducible(case):
    grid = sitk.Image(8, 7, 6, sitk.sitkUInt8)
    known = {"study": "1.2", "series": "1.3", "instance": "1.4"}
    first, second = (np.random.default_rng(case) for _ in range(2))
    assert mutated_image(grid, first)[1:] == mutated_image(grid, second)[1:]
    request, same = (dicomweb_request(known, [b"x"], rng) for rng in (first, second))
    assert request == same
    assert as_a_bad_client(request, first) == as_a_bad_client(request, second)


@pytest.mark.slow
def test_openapi_requests_are_reproducible_and_use_known_values():
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


def test_forged_tokens_are_refused_and_others_accepted():
    issuer = TokenIssuer("https://sso.example")
    keys = KeySet([issuer.key])
    expected = {"issuer": issuer.issuer, "client_id": CLIENT, "audience": CLIENT}
    assert verify_access_token(issuer.signed(issuer.claims("ada", "user")), keys, **expected)
    for case in range(300):
        token = forged_access_token(np.random.default_rng(case), issuer)
        if looks_like_jwt(token):
            with pytest.raises(InvalidToken):
                verify_access_token(token, keys, **expected)


def test_rejects_a_label_that_claims_ten_gigabytes_before_reading_it(tmp_path):
    image = tmp_path / "image.nrrd"
    sitk.WriteImage(sitk.Image(8, 7, 6, sitk.sitkInt16), str(image))
    label = tmp_path / "label.nrrd"
    label.write_text("NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2154 2154 2154\nencoding: raw\n\n")
    with pytest.raises(UserError, match="GiB of voxels, more than"):
        read_label(label, image, {"lung_tumor": 1})
