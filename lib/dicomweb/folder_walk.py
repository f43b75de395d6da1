"""Recursive listing of files below folders, with the paths that are unreachable."""

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


class FolderUnavailableError(UserError):
    """Raised when a file is needed whose folder is unavailable, such as an unmounted disk.

    Args:
        folder: The unavailable folder.
        reason: Why it is unavailable.
    """

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"The folder {folder} cannot be reached: {reason}. Its index is kept; try again when it is available.",
            HTTPStatus.SERVICE_UNAVAILABLE,
        )


@dataclass
class FolderWalk:
    """Result of a walk.

    Attributes:
        files: Size (bytes) and modification time (ns) of every file, by path.
        unreachable: Reason by path, for each folder or file that could not be read.
    """

    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)

    def is_unreachable(self, path: str) -> bool:
        """Return whether a file, or a folder above it, is unreachable, as opposed to deleted."""
        if not self.unreachable:
            return False
        return path in self.unreachable or any(str(parent) in self.unreachable for parent in Path(path).parents)


def walk(roots: Sequence[Path], had_files: bool) -> FolderWalk:
    """List every file below ``roots``; links are followed, and each folder is visited once.

    Args:
        roots: The folders; the first one is the user's.
        had_files: Whether the user's folder had files before; if it is empty now, it counts as not mounted.
    """
    found = FolderWalk()
    visited: set[str] = set()
    for root in roots:
        reason = unavailable_reason(root, had_files=had_files and root == roots[0])
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


def unavailable_reason(root: Path, *, had_files: bool) -> str | None:
    """Return why a folder is unavailable; None if it is available.

    Args:
        root: The folder.
        had_files: Whether it had files before.
    """
    try:
        with os.scandir(root) as entries:
            empty = next(entries, None) is None
    except OSError as error:
        return _reason(error)
    return "it is empty, though it had files before; is it mounted?" if empty and had_files else None


def read_failure(path: Path, error: OSError, roots: Sequence[Path]) -> UserError:
    """Return the exception to raise for a request when a file of the index cannot be read.

    Args:
        path: The file.
        error: The error of the system.
        roots: The folders of the index; the first one is the user's.
    """
    root = next((root for root in roots if path.is_relative_to(root)), path.parent)
    reason = unavailable_reason(root, had_files=root == roots[0])
    if reason:
        return FolderUnavailableError(root, reason)
    if _is_deleted(str(path), error):
        return UserError(f"The file {path.name} was deleted.", HTTPStatus.NOT_FOUND)
    return FolderUnavailableError(path.parent, _reason(error))


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
        for kind in (subfolders, names):  # neither SQLite nor JSON can store names that are not UTF-8
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
    """Return whether a path was deleted, as opposed to a link whose target is missing."""
    return error.errno in _GONE and not os.path.lexists(path)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
