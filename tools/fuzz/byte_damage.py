"""Damage to the bytes of any file, as caused by a bad disk, a broken transfer or an attacker."""

from __future__ import annotations

import numpy as np

from tools.fuzz.odd_values import one_of

_LENGTHS = (
    b"\xff\xff\xff\xff",
    b"\xfe\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\0",
    b"\1\0\0\0",
    b"\xff\xff",
    b"\0\xe4\x0b\x54",
)


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    """Change some bytes."""
    damaged = bytearray(data)
    for place in rng.integers(max(len(data), 1), size=rng.integers(1, 40)):
        if damaged:
            damaged[place] = rng.integers(256)
    return bytes(damaged)


def truncated(data: bytes, rng: np.random.Generator) -> bytes:
    """Remove the end."""
    return data[: rng.integers(len(data) + 1)]


def with_odd_length(data: bytes, rng: np.random.Generator) -> bytes:
    """Write an extreme value into the first kilobyte, where it may be read as a length."""
    length, place = one_of(rng, _LENGTHS), int(rng.integers(min(len(data), 1024) + 1))
    return data[:place] + length + data[place + len(length) :]


def with_more(data: bytes, rng: np.random.Generator) -> bytes:
    """Insert random bytes."""
    place = int(rng.integers(len(data) + 1))
    return data[:place] + rng.bytes(int(rng.integers(1, 5000))) + data[place:]


def with_less(data: bytes, rng: np.random.Generator) -> bytes:
    """Remove a piece."""
    first, last = sorted(rng.integers(len(data) + 1, size=2).tolist())
    return data[:first] + data[min(last, first + 4096) :]


def doubled(data: bytes, rng: np.random.Generator) -> bytes:
    """Duplicate a piece."""
    first, last = sorted(rng.integers(len(data) + 1, size=2).tolist())
    return data[:last] + data[first:]


DAMAGES = (flipped, truncated, with_odd_length, with_more, with_less, doubled)
