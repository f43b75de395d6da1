"""SQLite file of the index, a cache that is rebuilt if it is damaged."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from lib.errors import UserError
from lib.storage.atomic import make_folder
from lib.storage.state_file import move_aside

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_PARTS = ("", "-wal", "-shm", "-journal")
_LOCK_TIMEOUT_SECONDS = 60  # for the transaction of another thread
_STARTUP_LOCK_TIMEOUT_SECONDS = 10  # after that the lock counts as stale, and the file is rebuilt
# Parts of SQLite's messages (https://sqlite.org/rescode.html); Python has result codes only since 3.11.
_DAMAGE = ("malformed", "not a database", "no such table", "no such column", "could not decode to utf-8")
_NOT_WRITABLE = ("is full", "readonly")
_TRANSIENT = ("locked", "busy", "unable to open", "out of memory", "disk i/o", "interrupted")


class IndexDatabase:
    """Connections to the index, one per thread because SQLite connections must not be shared.

    Args:
        path: The file. If it is damaged, locked or has another schema, it is removed, and its content is read again
            from the folders.
        schema: Statements that create missing tables.
        version: Version of the schema.

    Raises:
        OSError: The file cannot be created: the disk is full or read-only.
    """

    def __init__(self, path: Path, schema: str, version: int) -> None:
        self._path = path
        self._schema = schema
        self._version = version
        with contextlib.closing(sqlite3.connect(":memory:")) as blank:
            blank.executescript(schema)
            self._tables = _tables(blank)
        self._local = threading.local()
        self._generation = 0
        self._lock = threading.Lock()
        self.is_damaged = False
        try:
            self._open_checked()
        except sqlite3.Error as error:
            self.rebuild(str(error))

    @property
    def connection(self) -> sqlite3.Connection:
        """Connection of the calling thread."""
        if getattr(self._local, "generation", None) != self._generation:
            with self._lock:  # a file that is being rebuilt has no tables
                generation = self._generation
            self._local.connection = self._connect(_LOCK_TIMEOUT_SECONDS)
            self._local.generation = generation
        return self._local.connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a write transaction, which blocks other writers but not readers; the body may roll it back.

        It takes the write lock at once: a transaction that reads first fails without waiting if another connection
        commits before its first write (https://sqlite.org/isolation.html).
        """
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            if connection.in_transaction:
                connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def rebuild(self, reason: str) -> None:
        """Replace the file by an empty one, for all threads.

        Raises:
            OSError: The file cannot be created.
        """
        with self._lock:
            _raise_if_not_writable(reason, self._path)
            logger.warning("The index %s cannot be used (%s); it is rebuilt from the folders", self._path, reason)
            for part in _PARTS:
                path = self._path.with_name(self._path.name + part)
                if path.is_dir():
                    move_aside(path)
                path.unlink(missing_ok=True)
            self._generation += 1
            try:
                self._open_checked()
            except sqlite3.Error as error:
                _raise_if_not_writable(str(error), self._path)
                raise OSError(errno.EIO, f"the index cannot be created ({error})", str(self._path)) from error
            self.is_damaged = False

    def _open_checked(self) -> None:
        connection = self._connect(_STARTUP_LOCK_TIMEOUT_SECONDS)
        try:
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if answer != "ok":
                raise sqlite3.DatabaseError(answer)
            if connection.execute("PRAGMA user_version").fetchone()[0] not in (0, self._version):
                raise sqlite3.DatabaseError("another version of this app wrote it")
            connection.executescript(self._schema)
            connection.execute(f"PRAGMA user_version = {self._version}")
            if _tables(connection) != self._tables:
                raise sqlite3.DatabaseError("its tables do not match the schema")
        finally:
            connection.close()

    def _connect(self, seconds: float) -> sqlite3.Connection:
        make_folder(self._path.parent)
        if not self._path.exists():
            self._path.touch(mode=0o600)
        connection = sqlite3.connect(self._path, timeout=seconds, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection


def reports_damage(query: Callable[..., _T]) -> Callable[..., _T]:
    """Decorate a query of the index so that SQLite errors become a `UserError`; after damage the next scan rebuilds it.

    Raises:
        UserError: The index is damaged or temporarily unavailable (503), or its disk is not writable (507).
    """

    @functools.wraps(query)
    def wrapped(self: Any, *args: Any, **options: Any) -> _T:
        try:
            return query(self, *args, **options)
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            if _is_damage(error):
                self._database.is_damaged = True
                raise UserError(
                    "The index of the studies is damaged and is being rebuilt; try again in a moment.",
                    HTTPStatus.SERVICE_UNAVAILABLE,
                ) from error
            if _has_any(error, _NOT_WRITABLE):
                raise UserError(
                    f"The index of the studies cannot be written ({error}). Free some space on the server's disk and "
                    "try again.",
                    HTTPStatus.INSUFFICIENT_STORAGE,
                ) from error
            if _has_any(error, _TRANSIENT):
                raise UserError(
                    f"The index of the studies is temporarily unavailable ({error}). Try again in a moment.",
                    HTTPStatus.SERVICE_UNAVAILABLE,
                ) from error
            raise

    return wrapped


def rebuilds_damaged_index(scan: Callable[..., _T]) -> Callable[..., _T]:
    """Decorate a scan so that it rebuilds a damaged index and then reads all files again."""

    @functools.wraps(scan)
    def wrapped(self: Any, *args: Any, **options: Any) -> _T:
        if self._database.is_damaged:
            self._database.rebuild("it is damaged")
        try:
            return scan(self, *args, **options)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._database.rebuild(str(error))
            return scan(self, *args, **options)

    return wrapped


def _is_damage(error: Exception) -> bool:
    """Return whether an error of a query indicates damage to the pages, the tables or the JSON in them."""
    if isinstance(error, sqlite3.Error):
        return _has_any(error, _DAMAGE)
    return isinstance(error, (json.JSONDecodeError, UnicodeDecodeError, TypeError))


def _has_any(error: Exception, words: tuple[str, ...]) -> bool:
    return any(word in str(error).lower() for word in words)


def _tables(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    return {*connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")}


def _raise_if_not_writable(reason: str, path: Path) -> None:
    if "full" in reason:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))
    if "readonly" in reason:
        raise OSError(errno.EROFS, "Read-only file system", str(path))
