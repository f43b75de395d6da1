"""Requests to routes that the OpenAPI document does not list: DICOMweb proxy, the viewer's files, and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode

import numpy as np

from lib.dicomweb.resources import RESOURCES, SERVICES
from tools.fuzz.byte_damage import DAMAGES
from tools.fuzz.exchange import Exchange
from tools.fuzz.odd_values import NUMBERS, TEXTS, one_of
from tools.fuzz.proxy_paths import escaping_paths

_PAGES = ("/", "/docs", "/status", "/favicon.ico", "/ohif/", "/ohif/lunglabel/", "/static/", "/openapi.json")
_ESCAPING = 0.15  # share of the requests whose path leads out of DICOMweb
_PAGE = 0.15
_QIDO = {
    "limit": NUMBERS,
    "offset": NUMBERS,
    "includefield": ("00081030,00080060", "all"),
    "fuzzymatching": ("true", "false"),
    "PatientID": TEXTS,
    "StudyInstanceUID": TEXTS,
    "00100020": TEXTS,
    "StudyDate": ("20200101-", "-", "2020"),
    "Nonsense": TEXTS,
}
_ACCEPT = ("*/*", "x", "multipart/related; type=x", "application/octet-stream", "image/jpeg")


def dicomweb_request(known: Mapping[str, str], uploads: Sequence[bytes], rng: np.random.Generator) -> Exchange:
    """Return a request with some unusual values.

    Args:
        known: Values that exist on the server, by parameter name (``study``, ``series``, ``instance``).
        uploads: Files to store.
        rng: Random generator.
    """
    method = one_of(rng, ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
    chance = rng.random()
    if chance < _ESCAPING:
        return Exchange(one_of(rng, ["GET", "POST"]), f"/proxy/dicom/{escaping_paths(rng)}")
    if chance < _ESCAPING + _PAGE:
        text = quote(one_of(rng, TEXTS), safe="/", errors="replace") if rng.random() < 0.5 else ""
        return Exchange("GET" if rng.random() < 0.9 else method, one_of(rng, _PAGES) + text)
    resource = one_of(rng, RESOURCES)
    values = {name: _value(value, rng) for name, value in {**known, "frames": "1"}.items()}
    target = f"/proxy/dicom/{one_of(rng, SERVICES)}/{resource.path.format(**values)}"
    headers = {"Accept": one_of(rng, _ACCEPT)} if rng.random() < 0.1 else {}
    method = resource.method if rng.random() < 0.95 else method
    if method == "POST":
        return Exchange(method, target, {**headers, **_STOW}, _stow_body(uploads, rng))
    query = {name: str(one_of(rng, values)) for name, values in _QIDO.items() if rng.random() < 0.3}
    target += f"?{urlencode(query, errors='replace')}" if resource.service == "qido" and query else ""
    return Exchange(method, target, headers)


_STOW = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}


def _stow_body(uploads: Sequence[bytes], rng: np.random.Generator) -> bytes:
    parts = [one_of(rng, [*uploads]) for _ in range(rng.integers(0, 3))]
    written = (b"--x\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts)
    body = b"".join(written) + b"--x--\r\n"
    return one_of(rng, DAMAGES)(body, rng) if rng.random() < 0.2 else body


def _value(known: str, rng: np.random.Generator) -> str:
    value = known if rng.random() < 0.7 else str(one_of(rng, [*TEXTS, *NUMBERS]))
    return quote(value, safe="/", errors="replace")
