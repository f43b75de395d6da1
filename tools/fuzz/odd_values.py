"""Edge-case values."""

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
# Keys of request parameters that the app or MONAI Label reads.
PARAMETERS = (
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
    "folds",
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
JSON_TEXTS = (
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

_T = TypeVar("_T")


def one_of(rng: np.random.Generator, values: tuple[_T, ...] | list[_T]) -> _T:
    """Return a random value in its own type; NumPy's ``choice`` would convert it."""
    return values[rng.integers(len(values))]
