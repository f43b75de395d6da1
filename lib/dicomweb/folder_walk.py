"""A look at every file below some folders, and at what could not be looked at."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from lib.errors import UserError

_GONE = (errno.ENOENT, errno.ENOTDIR)
_NOT_UTF8 = "its name is not UTF-8; rename it"


class FolderAwayError(UserError):
    """Files are needed that cannot be reached now.

    Args:
        folder: Which cannot be reached.
        reason: Why.
    """

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"The folder {folder} cannot be reached: {reason}. What is known of it is kept; try again when it is back.",
            HTTPStatus.SERVICE_UNAVAILABLE,
        )


@dataclass
class FolderWalk:
    """What a walk found.

    Attributes:
        files: Size and modification time (ns) of every file by its path.
        unreachable: Why, of each folder or file that could not be looked at.
    """

    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)

    def is_away(self, path: str) -> bool:
        """Whether a file was not found because it, or a folder above it, is unreachable."""
        if not self.unreachable:
            return False
        return path in self.unreachable or any(str(parent) in self.unreachable for parent in Path(path).parents)


def walk(roots: Sequence[Path], held_files: bool) -> FolderWalk:
    """Look at every file below ``roots``; links are followed, each folder once.

    Args:
        roots: The folders, that of the user first.
        held_files: Whether files were found in the user's before: empty now, it is not mounted.
    """
    found = FolderWalk()
    visited: set[str] = set()
    for root in roots:
        reason = why_away(root, held_files=held_files and root == roots[0])
        if reason:
            found.unreachable[str(root)] = reason
            continue
        for path in _files(str(root), visited, found):
            try:
                status = os.stat(path)  # noqa: PTH116 - pathlib is 3 times slower here
            except OSError as error:
                if not _is_deleted(path, error):
                    found.unreachable[path] = _reason(error)
                continue
            found.files[path] = (status.st_size, status.st_mtime_ns)
    return found


def why_away(root: Path, *, held_files: bool) -> str | None:
    """Tell why a folder cannot be reached; None if it can.

    Args:
        root: The folder.
        held_files: Whether files were found in it before.
    """
    try:
        with os.scandir(root) as entries:
            empty = next(entries, None) is None
    except OSError as error:
        return _reason(error)
    return "it is empty, though it held files before; is it mounted?" if empty and held_files else None


def explain(path: Path, error: OSError, roots: Sequence[Path]) -> UserError:
    """Turn the failure to read a file of the index into what the sender of a request is told.

    Args:
        path: The file.
        error: The failure.
        roots: The folders of the index, that of the user first.
    """
    root = next((root for root in roots if path.is_relative_to(root)), path.parent)
    away = why_away(root, held_files=root == roots[0])
    if away:
        return FolderAwayError(root, away)
    if _is_deleted(str(path), error):
        return UserError(f"The file {path.name} was deleted.", HTTPStatus.NOT_FOUND)
    return FolderAwayError(path.parent, _reason(error))


def _files(root: str, visited: set[str], found: FolderWalk) -> Iterator[str]:
    def failed(error: OSError) -> None:
        if not _is_deleted(error.filename or root, error):
            found.unreachable[error.filename or root] = _reason(error)

    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=failed):
        real = os.path.realpath(folder)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        for kind in (subfolders, names):  # neither SQLite nor JSON has such a name
            for name in [name for name in kind if not _is_utf8(name)]:
                kind.remove(name)
                shown = f"{folder}/{name}".encode("utf-8", "backslashreplace").decode()
                found.unreachable[shown] = _NOT_UTF8
        for name in names:
            if not name.startswith(".part-"):
                yield os.path.join(folder, name)  # noqa: PTH118 - pathlib is 3 times slower here


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_deleted(path: str, error: OSError) -> bool:
    """Whether a path is gone, and not just what a link of this name points to."""
    return error.errno in _GONE and not os.path.lexists(path)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
