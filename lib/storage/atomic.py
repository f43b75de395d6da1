"""Files that are either wholly there or not there at all, whenever the process is killed; readable by their owner."""

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
    """Let ``write`` fill a temporary file beside ``path``, then move it into place.

    The temporary name keeps the suffixes of ``path``, because image writers choose their format by them. The file is
    for its owner alone (mode 0600): nearly all that this app writes is about patients.

    Args:
        path: Where the file shall be. Its folder is made if need be; a former file is replaced.
        write: Called with the temporary path.
    """
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=_PREFIX, suffix="".join(path.suffixes[-2:]), dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o600)  # whatever the writer made of it
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically."""
    text = json.dumps(content, indent=2, default=str)
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes left in ``folder``, not below it."""
    for leftover in folder.glob(f"{_PREFIX}*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, mode 0700; a new one survives a power cut.

    Raises:
        OSError: It cannot be made; FileExistsError where something else has its name.
    """
    if not folder.is_dir():
        if folder.parent != folder:
            make_folder(folder.parent)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:  # another thread or process was faster, or it is no folder
            if not folder.is_dir():
                raise
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
