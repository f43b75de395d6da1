"""Malformed requests, as sent by badly behaved clients."""

from __future__ import annotations

import gzip
from dataclasses import replace

import numpy as np

from tools.fuzz.exchange import Exchange
from tools.fuzz.foreign_requests import as_foreign_request
from tools.fuzz.odd_values import JSON_TEXTS, one_of

_FOREIGN, _BAD = 0.15, 0.2  # shares
_TYPES = (
    "application/json",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/related; type=application/dicom; boundary=x",
    "application/dicom",
    "application/octet-stream",
    "x",
    "",
    "multipart/form-data; boundary=" + "y" * 300,
    "application/json; charset=nonsense",
    "multipart/related",
)


def as_a_client_sends_it(exchange: Exchange, rng: np.random.Generator) -> Exchange:
    """Return the request, mostly unchanged, otherwise as a foreign page or a badly behaved client would send it."""
    chance = rng.random()
    if chance < _FOREIGN:
        return as_foreign_request(exchange, rng)
    return as_a_bad_client(exchange, rng) if chance < _FOREIGN + _BAD else exchange


def as_a_bad_client(exchange: Exchange, rng: np.random.Generator) -> Exchange:
    """Return the request with a wrong length, type, encoding or header, or with malformed JSON."""
    headers = exchange.headers
    kind = int(rng.integers(6))
    if kind == 0:
        return replace(exchange, length=len(exchange.body) + one_of(rng, [1, 1000, 10 << 30]))
    if kind == 1:
        headers = {**headers, "Content-Encoding": "gzip"}
        return replace(exchange, headers=headers, body=gzip.compress(exchange.body, mtime=0))
    if kind == 2:
        headers = {**headers, "Cookie": "x" * 5000, "Range": "bytes=5-1,-9", "Expect": "x"}
        return replace(exchange, headers=headers)
    if kind == 3:
        return replace(exchange, headers={**headers, "X-Forwarded-For": "\x00", "Host": "elsewhere.example"})
    if kind == 4:
        return replace(exchange, headers={**headers, "Content-Type": one_of(rng, _TYPES)})
    body = one_of(rng, JSON_TEXTS).encode("utf-8", "replace")
    return replace(exchange, headers={**headers, "Content-Type": "application/json"}, body=body)
