"""Requests to every route of the server, odd in their paths, parameters and bodies."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

import numpy as np

from tools.fuzz.byte_damage import DAMAGES
from tools.fuzz.exchange import Exchange
from tools.fuzz.foreign_requests import of_somebody_else
from tools.fuzz.odd_values import NUMBERS, TEXTS, one_of
from tools.fuzz.proxy_paths import escaping_paths


@dataclass(frozen=True)
class Names:
    """What is really there, so that not every request is refused at the door."""

    image: str
    study: str
    instance: str


@dataclass(frozen=True)
class Route:
    """Of the server: its path as FastAPI writes it, its query parameters, and the body it wants."""

    method: str
    path: str
    query: tuple[str, ...] = ()
    body: str = ""


_PROXY_PATHS = 0.05  # share of the requests whose path leads out of DICOMweb
_ALL = "all", "check_if_running"
_QIDO = (
    "limit",
    "offset",
    "includefield",
    "fuzzymatching",
    "PatientID",
    "StudyInstanceUID",
    "00100020",
    "StudyDate",
    "Nonsense",
)
_SERIES = "/proxy/dicom/{service}/studies/{study}/series/{series}"
ROUTES = (
    Route("GET", "/"),
    Route("GET", "/docs"),
    Route("GET", "/openapi.json"),
    Route("GET", "/info/"),
    Route("GET", "/status"),
    Route("GET", "/status/data"),
    Route("GET", "/viewer/status"),
    Route("GET", "/viewer/case", ("image",)),
    Route("GET", "/viewer/label", ("image", "number")),
    Route("GET", "/attention/{image}"),
    Route("POST", "/infer/{model}", ("image", "session_id", "output"), "form"),
    Route("POST", "/batch/infer/{model}", ("images",), "json"),
    Route("GET", "/batch/infer", _ALL),
    Route("DELETE", "/batch/infer"),
    Route("POST", "/activelearning/{strategy}", (), "json"),
    Route("POST", "/train/{model}", ("enqueue",), "json"),
    Route("POST", "/train/", (), "json"),
    Route("GET", "/train/", _ALL),
    Route("DELETE", "/train/"),
    Route("POST", "/scoring/{method}", (), "json"),
    Route("POST", "/scoring/", (), "json"),
    Route("GET", "/scoring/", _ALL),
    Route("DELETE", "/scoring/"),
    Route("GET", "/datastore/", ("output",)),
    Route("PUT", "/datastore/", ("image",), "form"),
    Route("DELETE", "/datastore/", ("id",)),
    Route("PUT", "/datastore/label", ("image", "tag"), "form"),
    Route("GET", "/datastore/label", ("label", "tag", "output")),
    Route("HEAD", "/datastore/label", ("label", "tag", "image")),
    Route("DELETE", "/datastore/label", ("id", "tag")),
    Route("GET", "/datastore/label/info", ("label", "tag")),
    Route("PUT", "/datastore/label/info", ("label", "tag"), "form"),
    Route("PUT", "/datastore/updatelabelinfo", ("label", "tag"), "form"),
    Route("GET", "/datastore/image", ("image",)),
    Route("HEAD", "/datastore/image", ("image", "check_sum")),
    Route("PUT", "/datastore/image", ("image",), "form"),
    Route("DELETE", "/datastore/image", ("id",)),
    Route("GET", "/datastore/image/info", ("image",)),
    Route("PUT", "/datastore/image/info", ("image",), "form"),
    Route("GET", "/datastore/dataset", ("limit_cases",)),
    Route("GET", "/model/{model}"),
    Route("GET", "/model/info/{model}"),
    Route("PUT", "/model/{model}", (), "form"),
    Route("POST", "/model/{model}/serve", ("version", "by")),
    Route("DELETE", "/model/{model}"),
    Route("GET", "/logs/", ("lines",)),
    Route("GET", "/logs/gpu"),
    Route("GET", "/session/{session_id}", ("update_ts", "image")),
    Route("DELETE", "/session/{session_id}"),
    Route("PUT", "/session/", ("uncompress", "expiry"), "form"),
    Route("POST", "/reload"),
    Route("POST", "/infer/wsi_v2/{model}", ("image",), "form"),
    Route("GET", "/ohif/{path}"),
    Route("GET", "/ohif/lunglabel/{name}"),
    Route("GET", "/static/{path}"),
    Route("GET", "/favicon.ico"),
    Route("GET", "/proxy/dicom/{service}/studies", _QIDO),
    Route("GET", "/proxy/dicom/{service}/series", _QIDO),
    Route("GET", "/proxy/dicom/{service}/instances", _QIDO),
    Route("GET", "/proxy/dicom/{service}/studies/{study}/series", _QIDO),
    Route("GET", "/proxy/dicom/{service}/studies/{study}/instances", _QIDO),
    Route("GET", "/proxy/dicom/{service}/studies/{study}/metadata"),
    Route("GET", f"{_SERIES}/instances", _QIDO),
    Route("GET", f"{_SERIES}/metadata"),
    Route("GET", _SERIES),
    Route("GET", f"{_SERIES}/instances/{{instance}}"),
    Route("GET", f"{_SERIES}/instances/{{instance}}/metadata"),
    Route("GET", f"{_SERIES}/instances/{{instance}}/frames/{{frames}}"),
    Route("POST", "/proxy/dicom/{service}/studies", (), "dicom"),
    Route("POST", "/proxy/dicom/{service}/studies/{study}", (), "dicom"),
)
_ENUMS = {
    "output": ("all", "json", "image", "train", "stats", "dicom_seg", "rtstruct", "csv", "original"),
    "images": ("all", "labeled", "unlabeled"),
    "strategy": ("random", "first", "last", "uncertainty"),
    "method": ("uncertainty",),
    "tag": ("final", "original", "draft"),
    "service": ("qido", "wado", "stow"),
    "includefield": ("00081030,00080060", "all"),
    "path": ("index.html", "app-config.js", "images/../../x"),
    "name": ("panel.js", "panel.css"),
}
_NUMBERED = ("number", "limit", "offset", "limit_cases", "lines", "refresh", "expiry", "frames")
_FIELDS = ("params", "info", "label", "file", "files", "x")
_KEYS = (
    "threshold",
    "batch_size",
    "device",
    "result_extension",
    "attention",
    "crf",
    "crf_iterations",
    "min_diameter_mm",
    "label_info",
    "client_id",
    "model_version",
    "max_epochs",
    "patch_size",
    "val_split",
    "learning_rate",
    "loss_lambda",
    "strategy",
    "model",
    "image",
    "images",
    "id",
    "tag",
    "name",
    "dataset",
    "gpus",
    "seed",
    "",
)
_JSON_TEXTS = (
    "",
    "{",
    "[]",
    "null",
    "1",
    '"x"',
    '{"a": NaN}',
    '{"a": 1e999}',
    '{"a": "\\ud800"}',
    "[" * 100_000,
    '{"a":' * 20_000,
    "1" * 10_000,
    '{"a": ' + "9" * 5000 + "}",
    "\ufeff{}",
    "{'a': 1}",
    '{"a": 1, "a": 2}',
    "\x00",
    "{}{}",
    '{"strategy": [1]}',
)
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


def mutated_request(names: Names, uploads: Sequence[bytes], rng: np.random.Generator) -> Exchange:
    """A request that is odd in places.

    Args:
        names: What there is to ask for.
        uploads: Files to send along.
        rng: Decides all.
    """
    if rng.random() < _PROXY_PATHS:
        return Exchange(one_of(rng, ["GET", "POST"]), f"/proxy/dicom/{escaping_paths(rng)}", {}, b"")
    route = one_of(rng, ROUTES)
    path = "/".join(
        quote(_value(part[1:-1], names, rng), safe="/", errors="replace") if part.startswith("{") else part
        for part in route.path.split("/")
    )
    query = [(name, _value(name, names, rng)) for name in route.query if rng.random() < 0.8]
    query += [(one_of(rng, TEXTS), one_of(rng, TEXTS))] if rng.random() < 0.1 else []
    target = path + ("?" + "&".join(f"{_quoted(n)}={_quoted(v)}" for n, v in query) if query else "")
    method = (
        route.method
        if rng.random() < 0.95
        else one_of(rng, ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
    )
    kind, body = _body(route.body, uploads, rng)
    headers = {"Content-Type": kind} if kind else {}
    if rng.random() < 0.1:
        headers["Accept"] = one_of(
            rng, ["*/*", "x", "multipart/related; type=x", "application/octet-stream", "image/jpeg"]
        )
    exchange = Exchange(method, target, headers, body)
    if rng.random() < 0.15:
        return of_somebody_else(exchange, rng)
    return _as_a_bad_client(exchange, rng) if rng.random() < 0.2 else exchange


def multipart(fields: Sequence[tuple[str, str | None, bytes]], boundary: str = "b0undary") -> tuple[str, bytes]:
    """Content type and body of a form with (name, file name or None, content) of each field."""
    body = b""
    for name, file, content in fields:
        attribute = "" if file is None else f'; filename="{file}"'
        line = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{attribute}\r\n\r\n'
        body += line.encode("utf-8", "replace") + content + b"\r\n"
    return f"multipart/form-data; boundary={boundary}", body + f"--{boundary}--\r\n".encode()


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")


def _value(name: str, names: Names, rng: np.random.Generator) -> str:
    if rng.random() < 0.3:
        text = one_of(rng, TEXTS) if rng.random() < 0.7 else str(one_of(rng, NUMBERS))
        return text.encode("utf-8", "replace").decode()
    if name in _ENUMS:
        return one_of(rng, _ENUMS[name])
    if name in _NUMBERED:
        return str(one_of(rng, NUMBERS))
    if name == "model":
        return "lung_tumor"
    if name in ("study", "StudyInstanceUID"):
        return names.study
    if name == "instance":
        return names.instance
    if name in ("image", "series", "label", "id"):
        return names.image
    return one_of(rng, ["true", "false", "1", *TEXTS])


def _json(rng: np.random.Generator) -> bytes:
    if rng.random() < 0.5:
        return one_of(rng, _JSON_TEXTS).encode("utf-8", "replace")
    odd = [
        *TEXTS,
        *NUMBERS,
        None,
        True,
        [],
        {},
        [[]],
        {"a": {}},
        1.5,
        float("nan"),
        float("inf"),
        [{"name": 1, "idx": "x"}],
    ]
    content = {one_of(rng, _KEYS): one_of(rng, odd) for _ in range(rng.integers(1, 6))}
    return json.dumps(content).encode()


def _body(wanted: str, uploads: Sequence[bytes], rng: np.random.Generator) -> tuple[str, bytes]:
    if not wanted:
        return ("application/json", _json(rng)) if rng.random() < 0.1 else ("", b"")
    chance = rng.random()
    if chance < 0.15:  # of a kind that is not wanted
        return one_of(rng, _TYPES), one_of(rng, [_json(rng), rng.bytes(300), b"", one_of(rng, uploads)])
    if wanted == "json":
        return "application/json", _json(rng)
    if wanted == "form":
        fields = [
            (
                one_of(rng, _FIELDS),
                one_of(rng, [None, "x.nii.gz", "model.pt", "x.zip", "x.tar.gz", *TEXTS]),
                one_of(rng, [_json(rng), one_of(rng, uploads), b"", rng.bytes(100)]),
            )
            for _ in range(rng.integers(0, 4))
        ]
        kind, body = multipart(fields)
    else:
        parts = [one_of(rng, uploads) for _ in range(rng.integers(0, 3))]
        body = (
            b"".join(b"--x\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts)
            + b"--x--\r\n"
        )
        kind = 'multipart/related; type="application/dicom"; boundary=x'
    return kind, one_of(rng, DAMAGES)(body, rng) if chance > 0.8 else body


def _as_a_bad_client(exchange: Exchange, rng: np.random.Generator) -> Exchange:
    """Breaks off, lies about the length, or packs what nobody unpacks."""
    kind = int(rng.integers(4))
    if kind == 0:
        return replace(exchange, length=len(exchange.body) + int(one_of(rng, [1, 1000, 10 << 30])))
    if kind == 1:
        return replace(
            exchange, headers={**exchange.headers, "Content-Encoding": "gzip"}, body=gzip.compress(exchange.body)
        )
    if kind == 2:
        return replace(
            exchange, headers={**exchange.headers, "Cookie": "x" * 5000, "Range": "bytes=5-1,-9", "Expect": "x"}
        )
    return replace(exchange, headers={**exchange.headers, "X-Forwarded-For": "\x00", "Host": "elsewhere.example"})
