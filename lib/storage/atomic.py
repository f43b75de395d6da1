"""Atomic file writes: after a crash a file is complete or absent. Only its owner can read it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PREFIX = ".part-"


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a temporary file in the folder of ``path``, then rename it to ``path``.

    The temporary name keeps the suffixes of ``path``, because image writers choose their format by them. The file has
    mode 0600: nearly everything this app writes is patient data.

    Args:
        path: Target. Missing parent folders are created; an existing file is replaced.
        write: Writes the content; called with the temporary path.
    """
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=_PREFIX, suffix="".join(path.suffixes[-2:]), dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o600)  # the writer may have replaced the file
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` atomically as indented JSON."""
    text = json.dumps(content, indent=2, default=str)
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes from ``folder``, not from its subfolders."""
    for leftover in folder.glob(f"{_PREFIX}*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents with mode 0700, and sync them to disk.

    Raises:
        OSError: The folder cannot be created; FileExistsError if the path exists and is not a folder.
    """
    if not folder.is_dir():
        if folder.parent != folder:
            make_folder(folder.parent)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:  # race with another thread or process, or not a folder
            if not folder.is_dir():
                raise
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Sync the entries of a folder to disk, so that new and renamed files survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
