"""Opening of the workspace at process start: locked by one server, private, writable, free of leftovers."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lib.errors import UserError
from lib.settings import Settings
from lib.storage.atomic import make_folder, write_atomically
from lib.storage.state_file import move_aside

logger = logging.getLogger(__name__)

_CACHE_FOLDERS = ("uploads", "temporary", "results", "sessions", "predictions", "volumes", "scores")
_FOLDERS = ("image_info", "drafts")
_LEFTOVERS = ("uploads/*", "temporary/*", "results/*", "tmp*")  # in the cache, by killed requests; tmp*: older releases
_LOCKS = ("server.lock", "training.lock", "labels/.lock", "models/.lock", "models/lung_tumor_click/.lock")
_LOCK_TIMEOUT_SECONDS = 3.0  # time the system takes to release the lock of a killed server
_PROBE_BYTES = 1 << 16


def open_workspace(settings: Settings) -> FileLock | None:
    """Create the folders of a workspace and check that they are writable; in a server, also lock it.

    Returns:
        In a server the lock, which the caller must keep; the system releases it when the process ends. None in
        training processes and commands, which share the workspace with a server.

    Raises:
        UserError: Another server has locked the workspace, or it cannot be used.
    """
    with _os_errors_as_user_errors(settings.workspace):
        _make_private(settings.workspace)
        for name in _LOCKS:
            if (settings.workspace / name).is_dir():
                move_aside(settings.workspace / name)
        serving = is_server()
        lock = _lock_workspace(settings.workspace) if serving else None
        for folder in (settings.cache_dir, *(settings.workspace / name for name in _FOLDERS), settings.models_dir):
            _move_non_folder_aside(folder)
        stored = (settings.labels_dir, settings.segs_dir, settings.models_dir)
        for folder in (settings.workspace, *stored, settings.cache_dir):
            make_folder(folder)
            _check_writable(folder)
        for name in _CACHE_FOLDERS:
            _move_non_folder_aside(settings.cache_dir / name)
        if serving:
            _remove_leftovers(settings.cache_dir)
    return lock


def is_server() -> bool:
    """Return whether this process is a server; training processes and commands also create the app."""
    return "monailabel.app" in sys.modules and os.environ.get("LUNGLABEL_SERVER_PROCESS") in (None, str(os.getpid()))


@contextlib.contextmanager
def exit_on_startup_error() -> Iterator[None]:
    """Print in one sentence, without a traceback, why a server cannot start, and exit with status 2.

    Raises:
        UserError: The same message, in a process that is not a server.
    """
    try:
        yield
    except (UserError, OSError, sqlite3.Error) as error:
        message = _describe(error) if isinstance(error, OSError) else str(error)
        if not is_server():
            raise UserError(message) from error
        print(f"\nLungLabel cannot start: {message}\n", file=sys.stderr, flush=True)
        os._exit(2)


def _describe(error: OSError, workspace: Path | None = None) -> str:
    """Return why a file or folder cannot be used, and what the user can do about it."""
    place = Path(str(error.filename)) if error.filename else workspace
    what = f"{error.strerror or error}: {place}" if place else str(error.strerror or error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({what}). Free some space, or choose another workspace with --conf workspace DIR."
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return f"a file is in the place of a folder ({what}). Move it away."
    return f"it is not writable ({what}). Make it writable, or choose another workspace with --conf workspace DIR."


@contextlib.contextmanager
def _os_errors_as_user_errors(workspace: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"The workspace {workspace} cannot be used: {_describe(error, workspace)}") from error


def _make_private(workspace: Path) -> None:
    """Remove the access of other users from the folder, and of its group unless the group may write.

    A group with write access was configured on purpose.
    """
    make_folder(workspace)
    mode = workspace.stat().st_mode & 0o7777
    wanted = mode & ~0o007 if mode & 0o020 else mode & ~0o077
    if wanted != mode:
        with contextlib.suppress(PermissionError):  # writable, but owned by another user
            workspace.chmod(wanted)


def _lock_workspace(workspace: Path) -> FileLock:
    lock = FileLock(workspace / "server.lock", mode=0o600, thread_local=False)
    pid_file = workspace / "server.pid"
    try:
        lock.acquire(timeout=_LOCK_TIMEOUT_SECONDS)
    except Timeout:
        raise UserError(
            f"Another LungLabel server ({_process(pid_file)}) is using the workspace {workspace}. Stop it first, or "
            "choose another workspace for this one with --conf workspace DIR."
        ) from None
    if pid_file.is_dir():
        move_aside(pid_file)
    write_atomically(pid_file, lambda part: part.write_text(f"{os.getpid()}\n", encoding="ascii"))
    return lock


def _process(pid_file: Path) -> str:
    try:
        return f"process {int(pid_file.read_text(encoding='ascii'))}"
    except (OSError, ValueError):
        return "unknown process id"


def _move_non_folder_aside(folder: Path) -> None:
    """Rename a file that is in the place of a folder of the app's own data."""
    if folder.exists() and not folder.is_dir():
        logger.warning("%s is not a folder; it is kept as %s", folder, move_aside(folder).name)


def _check_writable(folder: Path) -> None:
    """Write and sync a probe file.

    Raises:
        OSError: The folder is not writable; ``filename`` is the folder.
    """
    try:
        with tempfile.NamedTemporaryFile(prefix=".part-", dir=folder) as file:
            file.write(b"\0" * _PROBE_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error


def _remove_leftovers(cache: Path) -> None:
    """Remove the files of killed requests from the cache; they hold images of patients."""
    for path in [path for pattern in _LEFTOVERS for path in cache.glob(pattern)]:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s, left by a killed request, cannot be removed: %s", path, error)
