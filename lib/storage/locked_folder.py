"""Folders that one process writes into at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lib.errors import UserError
from lib.storage.atomic import make_folder


@contextlib.contextmanager
def locked_folder(folder: Path, problem: str) -> Iterator[None]:
    """Create a folder if it is missing, and keep other processes out of it; a killed process leaves it open.

    Args:
        folder: The folder.
        problem: Message if another process has locked it.

    Raises:
        UserError: Another process has locked it.
    """
    make_folder(folder)
    lock = FileLock(folder / ".lunglabel.lock", timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(problem) from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
