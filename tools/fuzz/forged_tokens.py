"""Session cookies, and access tokens that must not be accepted."""

from __future__ import annotations

import base64
import json
import re
import time

import numpy as np

from tools.fuzz.exchange import Answer
from tools.fuzz.odd_values import TEXTS, one_of
from tools.fuzz.token_issuer import TokenIssuer

COOKIE = "lunglabel_session"


def session_in(answer: Answer) -> str:
    """Return the session that a response begins; empty if it begins none."""
    found = re.search(rf"{COOKIE}=([^;]+)", answer.headers.get("set-cookie", ""))
    return found[1] if found else ""


def forged_cookie(rng: np.random.Generator, valid: str, access_token: str) -> str:
    """Return a Cookie header that names no session.

    Args:
        rng: Source of randomness.
        valid: Token of a session, which is changed.
        access_token: A valid access token, which is no session.
    """
    place = int(rng.integers(len(valid)))
    changed = valid[:place] + ("A" if valid[place] != "A" else "B") + valid[place + 1 :]
    value = one_of(
        rng, [changed, valid[:-1], valid + "A", valid.swapcase(), access_token, f'"{changed}', *map(_header, TEXTS)]
    )
    return one_of(
        rng,
        [
            f"{COOKIE}={value}",
            f"{COOKIE}={value}; {COOKIE}={changed}",
            f"other={valid}",
            f"{COOKIE}x={valid}",
            f"{COOKIE}; =; ;{COOKIE}=",
            f'{COOKIE}="\\012{value}',
        ],
    )


def forged_access_token(rng: np.random.Generator, issuer: TokenIssuer) -> str:
    """Return an access token of an admin that is expired, foreign, or changed."""
    now = int(time.time())
    changes = one_of(
        rng,
        [
            {"exp": now - 60 - int(rng.integers(100_000))},
            {"exp": one_of(rng, ["x", None, [], True, -1, "9" * 30])},
            {"nbf": now + 3600},
            {"iss": one_of(rng, ["https://elsewhere.example", issuer.issuer + "/", "", None, [issuer.issuer], 1])},
            {"aud": one_of(rng, ["account", [], None, 7, {"lunglabel": 1}, ["LungLabel"], "lunglabel "])},
            {"sub": one_of(rng, [None, 1, [], {}])},
            {"typ": one_of(rng, ["ID", "Refresh", "Logout", 1])},
            {"nonce": "x"},
            {"at_hash": "x"},
        ],
    )
    good = issuer.claims("eve", "monailabel-admin")
    if rng.random() < 0.4:
        return issuer.signed({**good, **changes})
    header, payload, signature = issuer.signed(good).split(".")
    return one_of(
        rng,
        [
            issuer.signed(good, foreign=True),
            issuer.signed(good, kid="unknown"),
            issuer.signed(good, typ="logout+jwt"),
            f"{_encoded({'alg': 'none', 'kid': 'fuzz'})}.{payload}.",
            f"{_encoded({'alg': 'HS256', 'kid': 'fuzz'})}.{payload}.{signature}",
            f"{_encoded({'alg': one_of(rng, [None, 1, [], 'rs256', 'RSA']), 'kid': 'fuzz'})}.{payload}.{signature}",
            f"{_encoded({'alg': 'RS256', 'kid': one_of(rng, [1, [], {}, 'x' * 3000])})}.{payload}.{signature}",
            f"{_encoded({'alg': 'RS256', 'kid': 'fuzz', 'crit': ['exp'], 'exp': 1})}.{payload}.{signature}",
            f"{header}.{_encoded({**good, 'preferred_username': 'root'})}.{signature}",
            f"{header}.{payload}.{signature[:-4]}",
            f"{header}.{payload}",
            f"{header}.{payload}.{signature}.{signature}",
            f"{one_of(rng, ['', '!', 'W10', 'bnVsbA', '__8', _encoded('x' * 9000)])}.{payload}.{signature}",
            _header(one_of(rng, TEXTS)),
        ],
    )


def _header(text: str) -> str:
    """Return a text as it fits into a header."""
    return text.encode("utf-8", "replace").decode("latin-1").replace("\r", " ").replace("\n", " ").replace("\0", " ")


def _encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
