"""The SQLite file of the index: a cache, made anew in whatever state it is found."""

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
_SECONDS = 60  # that a thread waits for another's transaction
_SECONDS_AT_START = 10  # after that, who holds the file is taken for dead, and a new one is made
# What SQLite says (https://sqlite.org/rescode.html): result codes are known to Python from 3.11 on only.
_DAMAGE = ("malformed", "not a database", "no such table", "no such column", "could not decode to utf-8")
_NO_ROOM = ("is full", "readonly")
_PASSING = ("locked", "busy", "unable to open", "out of memory", "disk i/o", "interrupted")


class IndexDatabase:
    """Connections to the index, one for each thread: SQLite's may not be shared.

    Args:
        path: The file. One that is damaged, locked or of another schema is removed; nothing else knows what it held
            but the folders, which are looked at again.
        schema: Statements that make the tables where there are none.
        version: Of the schema.

    Raises:
        OSError: None can be made: the disk is full or read-only.
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
            self.make_anew(str(error))

    @property
    def connection(self) -> sqlite3.Connection:
        """That of this thread."""
        if getattr(self._local, "generation", None) != self._generation:
            with self._lock:  # while a new file is made, there are no tables in it
                generation = self._generation
            self._local.connection = self._connect(_SECONDS)
            self._local.generation = generation
        return self._local.connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write in one transaction; other writers wait for it, readers do not. It may be rolled back within.

        It takes the write lock at once: a transaction that reads first fails, without waiting, if another connection
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

    def make_anew(self, reason: str) -> None:
        """Remove the file and make an empty one; all threads take that from now on.

        Raises:
            OSError: None can be made.
        """
        with self._lock:
            _raise_if_no_room(reason, self._path)
            logger.warning("The index %s cannot be used (%s); it is made anew from the folders", self._path, reason)
            for part in _PARTS:
                path = self._path.with_name(self._path.name + part)
                if path.is_dir():
                    move_aside(path)
                path.unlink(missing_ok=True)
            self._generation += 1
            try:
                self._open_checked()
            except sqlite3.Error as error:
                _raise_if_no_room(str(error), self._path)
                raise OSError(errno.EIO, f"no index can be made ({error})", str(self._path)) from error
            self.is_damaged = False

    def _open_checked(self) -> None:
        connection = self._connect(_SECONDS_AT_START)
        try:
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if answer != "ok":
                raise sqlite3.DatabaseError(answer)
            if connection.execute("PRAGMA user_version").fetchone()[0] not in (0, self._version):
                raise sqlite3.DatabaseError("it is of another version of this app")
            connection.executescript(self._schema)
            connection.execute(f"PRAGMA user_version = {self._version}")
            if _tables(connection) != self._tables:
                raise sqlite3.DatabaseError("its tables are others")
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


def telling_damage(query: Callable[..., _T]) -> Callable[..., _T]:
    """Let a query of the index that fails tell why, in a sentence; if it meets damage, the next scan makes a new one.

    Raises:
        UserError: The index is damaged or cannot be used at the moment (503), or its disk takes no more (507).
    """

    @functools.wraps(query)
    def told(self: Any, *args: Any, **options: Any) -> _T:
        try:
            return query(self, *args, **options)
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            if _is_damage(error):
                self._database.is_damaged = True
                raise UserError(
                    "The index of the studies is damaged. It is made anew; try again in a moment.",
                    HTTPStatus.SERVICE_UNAVAILABLE,
                ) from error
            if _says(error, _NO_ROOM):
                raise UserError(
                    f"The index of the studies cannot be written ({error}). Make room on the server's disk and try "
                    "again.",
                    HTTPStatus.INSUFFICIENT_STORAGE,
                ) from error
            if _says(error, _PASSING):
                raise UserError(
                    f"The index of the studies cannot be used at the moment ({error}). Try again in a moment.",
                    HTTPStatus.SERVICE_UNAVAILABLE,
                ) from error
            raise

    return told


def mending_damage(scan: Callable[..., _T]) -> Callable[..., _T]:
    """Let a scan make a new index where the old one is damaged, and take in everything again."""

    @functools.wraps(scan)
    def mended(self: Any, *args: Any, **options: Any) -> _T:
        if self._database.is_damaged:
            self._database.make_anew("it is damaged")
        try:
            return scan(self, *args, **options)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._database.make_anew(str(error))
            return scan(self, *args, **options)

    return mended


def _is_damage(error: Exception) -> bool:
    """Whether an error of a query says that the file is damaged, in its pages, its tables or the JSON in them."""
    if isinstance(error, sqlite3.Error):
        return _says(error, _DAMAGE)
    return isinstance(error, (json.JSONDecodeError, UnicodeDecodeError, TypeError))


def _says(error: Exception, words: tuple[str, ...]) -> bool:
    return any(word in str(error).lower() for word in words)


def _tables(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    return {*connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")}


def _raise_if_no_room(reason: str, path: Path) -> None:
    if "full" in reason:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))
    if "readonly" in reason:
        raise OSError(errno.EROFS, "Read-only file system", str(path))
