"""Copies of the index of a folder: SQLite files cannot be shared between hosts, so each worker has its own."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from pathlib import Path

_INDEX = "index.sqlite"


def share_index(cache: Path, shared: Path) -> None:
    """Copy the index of a folder, also while it is written, to where workers find it; a PACS has none.

    Args:
        cache: Folder of the cache with the index.
        shared: Folder that all workers see.
    """
    if not (cache / _INDEX).exists():
        return
    shared.mkdir(parents=True, exist_ok=True)
    with (
        contextlib.closing(sqlite3.connect(cache / _INDEX)) as source,
        contextlib.closing(sqlite3.connect(shared / _INDEX)) as copy,
    ):
        source.backup(copy)


def workspace_of_worker(shared: Path) -> Path:
    """Return a new workspace of this worker, with its copy of the index that `share_index` shared.

    It is removed with the folder of the worker, also after the worker was killed.
    """
    from distributed import get_worker

    work = Path(tempfile.mkdtemp(prefix="lunglabel-", dir=get_worker().local_directory))
    (work / "cache").mkdir()
    if (shared / _INDEX).exists():
        shutil.copyfile(shared / _INDEX, work / "cache" / _INDEX)
    return work
