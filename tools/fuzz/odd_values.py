"""Values that programs seldom expect."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

TEXTS = (
    "",
    " ",
    ".",
    "..",
    "../../../etc/passwd",
    "..\\..\\x",
    "/etc/passwd",
    "a/b",
    "a%2Fb",
    "1.2/3",
    "\x00",
    "1.2\x00.3",
    "x" * 300,
    "9" * 5000,
    "null",
    "None",
    "NaN",
    "-1",
    "0",
    "1e400",
    "'; DROP TABLE files; --",
    "<script>alert(1)</script>",
    "{{7*7}}",
    "${jndi:ldap://x}",
    "%s%n%d",
    "ü\u202e\U0001f600",
    "\ud800",
    "\r\nSet-Cookie: a=b",
    "1.2.3\\1.2.4",
    "1..2",
    "*",
    "?",
    "con",
    "-",
    "--help",
    "lung_tumor",
    "final",
)
NUMBERS = (0, -1, 1, 2, 7, 255, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32, 2**63, 10**30, -(2**63))

_T = TypeVar("_T")


def one_of(rng: np.random.Generator, values: tuple[_T, ...] | list[_T]) -> _T:
    """One of some values, as it is (NumPy's own choice would turn it into its own types)."""
    return values[rng.integers(len(values))]
