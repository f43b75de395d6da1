"""Cross-site requests and requests for foreign host names: the server must refuse all of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tools.fuzz.exchange import Exchange
from tools.fuzz.odd_values import one_of

_FOREIGN_HOSTS = (
    "elsewhere.example",
    "localhost.elsewhere.example:8000",
    "127.0.0.1.elsewhere.example",
    "127.0.0.1@elsewhere.example",
    "10.255.255.254:8000",
    "[2001:db8::1]:8000",
    "0.0.0.0",
    "localhost:8000:8000",
    "localhost/elsewhere.example",
    "xn--lcalhost-n4a",
)
_FOREIGN_PAGES = (
    {"Origin": "http://elsewhere.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": "http://["},
    {"Origin": "http://127.0.0.1:1", "Referer": "http://elsewhere.example/"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "x"},
)


def as_foreign_request(exchange: Exchange, rng: np.random.Generator) -> Exchange:
    """Return the request with a foreign host name, or as a page of another site would send it."""
    if rng.random() < 0.5:
        return replace(exchange, host=one_of(rng, _FOREIGN_HOSTS), forbidden=True)
    headers = {**exchange.headers, **one_of(rng, _FOREIGN_PAGES)}
    return replace(exchange, headers=headers, forbidden=True)
