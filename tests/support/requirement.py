"""Programs that a test machine has and a user's machine may lack."""

import os
import shutil
from typing import NoReturn

import pytest


def lacking(sentence: str) -> NoReturn:
    """Skip the test, saying why; on CI, where everything must be there, fail it."""
    if os.environ.get("CI"):
        pytest.fail(f"{sentence} (CI must not skip this)", pytrace=False)
    pytest.skip(f"SKIPPED: {sentence}")


def find_program(*names: str, sentence: str) -> str:
    """Path of the first of ``names`` on PATH, else `lacking`."""
    for name in names:
        if path := shutil.which(name):
            return path
    lacking(sentence)
