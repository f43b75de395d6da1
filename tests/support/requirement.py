"""Programs that tests need and a machine may lack."""

import os
import shutil
from typing import NoReturn

import pytest


def skip_or_fail(message: str) -> NoReturn:
    """Skip the test with a message, or fail it on CI, where everything must be installed."""
    if os.environ.get("CI"):
        pytest.fail(f"{message} (CI must not skip this)", pytrace=False)
    pytest.skip(f"SKIPPED: {message}")


def find_program(*names: str, message: str) -> str:
    """Return the path of the first of ``names`` on PATH, else skip or fail the test."""
    for name in names:
        if path := shutil.which(name):
            return path
    skip_or_fail(message)
