"""The workspace when a process starts: of one server alone, private, and writable; or a sentence that says why not."""

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

_CACHED = ("uploads", "temporary", "results", "sessions", "predictions", "volumes", "scores")
_LEFTOVERS = (
    "uploads/*",
    "temporary/*",
    "results/*",
    "tmp*",
)  # in the cache by requests that were killed; tmp* formerly
_LOCKS = ("server.lock", "training.lock", "labels/.lock", "models/.lock")
_SECONDS_OF_A_KILLED_SERVER = 3.0  # until the system has released its lock
_PROBE_BYTES = 1 << 16


def open_workspace(settings: Settings) -> FileLock | None:
    """Make the folders of a workspace and see that they can be written to; in a server, lock it as well.

    Returns:
        In a server the lock that no other server can take for as long as this process lives, however it ends; to be
        kept. None in its training process and in commands, which work beside it.

    Raises:
        UserError: Another server has it, or it cannot be used, with the reason.
    """
    with _one_sentence(settings.workspace):
        _make_private(settings.workspace)
        for name in _LOCKS:
            if (settings.workspace / name).is_dir():
                move_aside(settings.workspace / name)
        serving = is_server()
        lock = _lock_workspace(settings.workspace) if serving else None
        for folder in (settings.cache_dir, settings.workspace / "image_info", settings.models_dir):  # nobody's work
            _free(folder)
        stored = (settings.labels_dir, settings.segs_dir, settings.models_dir)
        for folder in (settings.workspace, *stored, settings.cache_dir):
            make_folder(folder)
            _probe(folder)
        for name in _CACHED:
            _free(settings.cache_dir / name)
        if serving:
            _clear(settings.cache_dir)
    return lock


def is_server() -> bool:
    """Return whether this process is a server; its training process builds the app too, and so do commands."""
    return "monailabel.app" in sys.modules and os.environ.get("LUNGLABEL_SERVER_PROCESS") in (None, str(os.getpid()))


@contextlib.contextmanager
def refusing_to_start() -> Iterator[None]:
    """Say in one sentence why a server cannot start, and end with status 2; a traceback helps nobody.

    A command of this app gets the sentence as a UserError.
    """
    try:
        yield
    except (UserError, OSError, sqlite3.Error) as error:
        reason = sentence(error) if isinstance(error, OSError) else str(error)
        if not is_server():
            raise UserError(reason) from error
        print(f"\nLungLabel cannot start: {reason}\n", file=sys.stderr, flush=True)
        os._exit(2)


def sentence(error: OSError, workspace: Path | None = None) -> str:
    """Return what a person can do about a file or folder that cannot be used."""
    place = Path(str(error.filename)) if error.filename else workspace
    what = f"{error.strerror or error}: {place}" if place else str(error.strerror or error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({what}). Make room there, or choose another workspace with --conf workspace DIR."
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return f"where a folder should be, there is a file ({what}). Move it away."
    return f"it cannot be written to ({what}). Mend that, or choose another workspace with --conf workspace DIR."


@contextlib.contextmanager
def _one_sentence(workspace: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"The workspace {workspace} cannot be used: {sentence(error, workspace)}") from error


def _make_private(workspace: Path) -> None:
    """Keep others out of the folder of all that is about patients; a group that may write was let in by a person."""
    make_folder(workspace)
    mode = workspace.stat().st_mode & 0o7777
    wanted = mode & ~0o007 if mode & 0o020 else mode & ~0o077
    if wanted != mode:
        with contextlib.suppress(PermissionError):  # somebody else's folder, in which we may write
            workspace.chmod(wanted)


def _lock_workspace(workspace: Path) -> FileLock:
    lock = FileLock(workspace / "server.lock", mode=0o600, thread_local=False)
    named = workspace / "server.pid"
    try:
        lock.acquire(timeout=_SECONDS_OF_A_KILLED_SERVER)
    except Timeout:
        raise UserError(
            f"Another LungLabel server ({_process(named)}) uses the workspace {workspace}. Stop it first, or give this "
            "one a workspace of its own with --conf workspace DIR."
        ) from None
    if named.is_dir():
        move_aside(named)
    write_atomically(named, lambda part: part.write_text(f"{os.getpid()}\n", encoding="ascii"))
    return lock


def _process(named: Path) -> str:
    try:
        return f"process {int(named.read_text(encoding='ascii'))}"
    except (OSError, ValueError):
        return "of unknown process number"


def _free(folder: Path) -> None:
    """Let something that is no folder give way to one; nobody's work is in it."""
    if folder.exists() and not folder.is_dir():
        logger.warning("%s is no folder; it is set aside as %s", folder, move_aside(folder).name)


def _probe(folder: Path) -> None:
    try:
        with tempfile.NamedTemporaryFile(prefix=".part-", dir=folder) as file:
            file.write(b"\0" * _PROBE_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error


def _clear(cache: Path) -> None:
    """Remove what requests left that were killed: patients' images."""
    for path in [path for pattern in _LEFTOVERS for path in cache.glob(pattern)]:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s, left by a request that was killed, cannot be removed: %s", path, error)
