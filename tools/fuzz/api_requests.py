"""Requests that schemathesis generates from the server's OpenAPI document."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode

from tools.fuzz.exchange import Exchange
from tools.fuzz.odd_values import JSON_TEXTS, PARAMETERS

_BOUNDARY = re.compile(r"boundary=([0-9a-f]{32})")
_JSON_FIELDS = {"params", "info"}
_OWN_HEADERS = ("User-Agent", "Accept-Encoding", "Connection", "Content-Length", "X-Schemathesis-TestCaseId")


class ApiRequests:
    """Generator of requests to every operation in an OpenAPI document.

    Args:
        document: Content of ``/openapi.json``.
        known: Values that exist on the server, by parameter name. Half of the requests use them, so that not every
            request ends at the first check.
    """

    def __init__(self, document: Mapping[str, Any], known: Mapping[str, str]) -> None:
        schema = schemathesis.openapi.from_dict({**document})
        self.operations: list[APIOperation] = [result.ok() for result in schema.get_all_operations()]
        self._known = known
        self._strategies: dict[str, st.SearchStrategy[Exchange]] = {}

    def strategy(self, operation: APIOperation) -> st.SearchStrategy[Exchange]:
        """Return a strategy for requests that conform to the document, and for requests that violate it."""
        if operation.label not in self._strategies:
            cases = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]
            self._strategies[operation.label] = st.builds(self._exchange, st.one_of(cases), st.booleans(), _BODIES)
        return self._strategies[operation.label]

    def examples(self, number: int, count: int) -> list[Exchange]:
        """Return up to ``count`` requests to one operation; the same for the same ``number``."""
        operation = self.operations[np.random.default_rng(number).integers(len(self.operations))]
        found: list[Exchange] = []

        @seed(number)
        @settings(
            max_examples=count,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            derandomize=False,
            suppress_health_check=[*HealthCheck],
        )
        @given(self.strategy(operation))
        def collect(exchange: Exchange) -> None:
            found.append(exchange)

        collect()
        return found

    def _exchange(self, case: Case, use_known: bool, body: _Body | None) -> Exchange:
        if use_known:
            parameters = {one["name"]: one["in"] for one in case.operation.definition.raw.get("parameters", ())}
            for name in parameters.keys() & self._known.keys():
                part = case.path_parameters if parameters[name] == "path" else case.query
                part[name] = self._known[name]
        if body and case.media_type == "application/json":
            case.body = body.settings
        elif body and isinstance(case.body, dict):
            case.body.update(dict.fromkeys(_JSON_FIELDS & case.body.keys(), body.text))
        return _prepared(case)


@dataclass(frozen=True)
class _Body:
    """Parts of a request body that the OpenAPI document cannot describe.

    Attributes:
        settings: Object with keys that the app reads, for a JSON body.
        text: Content of a form field that holds JSON.
    """

    settings: dict[str, Any]
    text: str


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=10), values, max_size=3),
    max_leaves=5,
)
_SETTINGS = st.dictionaries(st.sampled_from(PARAMETERS), _JSON, max_size=5)
_BODIES = st.none() | st.builds(_Body, _SETTINGS, st.sampled_from(JSON_TEXTS) | _SETTINGS.map(json.dumps))


def _prepared(case: Case) -> Exchange:
    """Return what ``requests`` would send, without parts that differ each time."""
    arguments = case.as_transport_kwargs(base_url="http://server")
    arguments.pop("cookies", None)
    request = requests.Request(**arguments).prepare()
    body = request.body.encode() if isinstance(request.body, str) else request.body or b""
    headers = {name: value for name, value in request.headers.items() if name not in _OWN_HEADERS}
    if "Content-Type" in headers:
        kind = headers["Content-Type"]
        kind = kind if isinstance(kind, str) else kind.decode("latin-1")
        if boundary := _BOUNDARY.search(kind):
            body = body.replace(boundary[1].encode(), b"b0undary")
            kind = kind.replace(boundary[1], "b0undary")
        headers["Content-Type"] = kind
    return Exchange(request.method, request.path_url, headers, body)
