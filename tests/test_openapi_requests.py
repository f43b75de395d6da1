"""Requests that schemathesis generates from the OpenAPI document of the real server: none is a server error."""

import pytest
import requests
from hypothesis import HealthCheck, given, settings

from tools.fuzz.api_requests import ApiRequests
from tools.fuzz.exchange import Exchange, problem_of, send

EXAMPLES = 10  # requests to each operation
TASKS = ("/train/", "/batch/infer", "/scoring/")


@pytest.fixture(scope="module")
def server(start_module_server, phantom_studies):
    return start_module_server(phantom_studies.of_patient("LUNG-001").directory, scored_images=0)


@pytest.fixture(scope="module")
def api(server, phantom_studies):
    document = requests.get(f"{server.url}/openapi.json", timeout=60).json()
    uid = phantom_studies.of_patient("LUNG-001").series_uid
    known = {**dict.fromkeys(("image", "label", "id"), uid), "model": "lung_tumor", "tag": "final"}
    return ApiRequests(document, known)


def test_no_request_is_a_server_error(server, api):
    answered = 0
    for operation in api.operations:

        @settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
        @given(exchange=api.strategy(operation))
        def answers(exchange: Exchange) -> None:
            nonlocal answered
            answer = send(server.url, exchange, timeout=60)
            assert problem_of(exchange, answer) is None
            answered += 1
            if exchange.method == "POST" and exchange.target.startswith(TASKS) and answer.status == 200:
                for task in TASKS:
                    send(server.url, Exchange("DELETE", task), timeout=60)

        answers()
    assert answered > 200
    assert server.process.poll() is None
