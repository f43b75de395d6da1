"""Write access to the index: rows of files, and the queue of series whose excluded files must be determined again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from lib.dicomweb.file_exclusion import FileExclusion, SeriesKey
from lib.dicomweb.image_digest import ImageDigests
from lib.dicomweb.index_database import IndexDatabase

SCHEMA_VERSION = 8
SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, problem TEXT,
    study_uid TEXT, series_uid TEXT, patient_id TEXT, sop_uid TEXT, transfer_syntax TEXT, instance TEXT,
    place TEXT, kind TEXT, frames INTEGER, left_out TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_by_series ON files (series_uid, study_uid, patient_id, left_out, sop_uid);
CREATE INDEX IF NOT EXISTS files_by_instance ON files (sop_uid, series_uid);
CREATE INDEX IF NOT EXISTS files_by_kind ON files (series_uid, study_uid, patient_id, kind, frames);
CREATE INDEX IF NOT EXISTS files_with_problem ON files (problem) WHERE problem IS NOT NULL;
CREATE INDEX IF NOT EXISTS files_left_out ON files (series_uid, left_out) WHERE left_out IS NOT NULL;
CREATE TABLE IF NOT EXISTS images (path TEXT PRIMARY KEY, description TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS series (
    study_uid TEXT, series_uid TEXT, patient_id TEXT, header TEXT, rank INTEGER,
    PRIMARY KEY (study_uid, series_uid, patient_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unjudged (
    series_uid TEXT, path TEXT, is_stale INTEGER, PRIMARY KEY (series_uid, path)
) WITHOUT ROWID;
"""
_SOP_UID = 7  # column in a row of ``files``

_T = TypeVar("_T")


class IndexRow(NamedTuple):
    """Row of a file in ``files``, with key and header of its series, or its description in ``images``."""

    file: tuple
    key: SeriesKey | None = None
    header: str = ""
    rank: int = 0  # position, among the roots, of the folder that contains the file
    image: str | None = None


class IndexWriter:
    """Writes to the index, each call in one transaction.

    To judge a series is to determine which of its files are left out. Stored and removed files are recorded in the
    table ``unjudged`` in the same transaction, and stay there until their series is judged, even if the process fails
    or is killed in between. A row is a new file or, with ``is_stale``, a changed or deleted file of the series.

    Args:
        database: The index, with :data:`SCHEMA`.
        exclusion: Determines which files are left out.
    """

    def __init__(self, database: IndexDatabase, exclusion: FileExclusion) -> None:
        self._database = database
        self._exclusion = exclusion

    def store(self, rows: Sequence[IndexRow]) -> set[str]:
        """Write the rows of files, and return the SeriesInstanceUIDs of the series to judge."""

        def write(connection: sqlite3.Connection, digests: ImageDigests) -> set[str]:
            former = _series_of(connection, [row.file[0] for row in rows])
            connection.executemany(
                f"INSERT OR REPLACE INTO files VALUES ({', '.join('?' * 14)})", [row.file for row in rows]
            )
            # SQLite before 3.35 requires the columns of the conflict.
            connection.executemany(
                "INSERT INTO series VALUES (?, ?, ?, ?, ?) ON CONFLICT (study_uid, series_uid, patient_id)"
                " DO UPDATE SET header = excluded.header, rank = excluded.rank WHERE excluded.rank <= rank",
                [(*row.key, row.header, row.rank) for row in rows if row.key],
            )
            instances = [(row.key, row.file[_SOP_UID]) for row in rows if row.key]
            self._exclusion.mark_new_files(connection, instances, digests.of)
            connection.executemany("DELETE FROM images WHERE path = ?", [row.file[:1] for row in rows])
            connection.executemany(
                "INSERT INTO images VALUES (?, ?)", [(row.file[0], row.image) for row in rows if row.image]
            )
            known = {path for _, path in former}
            now = [(row.key.series_uid, row.file[0]) for row in rows if row.key]
            # Files with the same UID as a currently unreadable one are judged again when it can be read.
            stale = {one for one in now if one[1] in known or digests.unreadable}
            return _note(connection, {*former, *now}, {*former, *stale})

        return self._write(write)

    def forget(self, paths: Sequence[str]) -> set[str]:
        """Remove the rows of files, and return the SeriesInstanceUIDs of the series to judge."""
        if not paths:
            return set()
        with self._database.transaction() as connection:
            former = _series_of(connection, paths)
            for table in ("files", "images"):
                connection.executemany(f"DELETE FROM {table} WHERE path = ?", [(path,) for path in paths])
            connection.execute(
                "DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.series_uid = series.series_uid"
                " AND f.study_uid = series.study_uid AND f.patient_id = series.patient_id)"
            )
            return _note(connection, former, former)

    def unjudged(self) -> set[str]:
        """Return the SeriesInstanceUIDs of the series that are not judged yet."""
        return {uid for (uid,) in self._database.connection.execute("SELECT DISTINCT series_uid FROM unjudged")}

    def judge(self, series_uid: str) -> bool:
        """Leave copies out of a series, and determine all left-out files again if files were changed or deleted.

        While one of these files cannot be read, no file is included again, and the series stays in ``unjudged``.

        Returns:
            Whether known files were changed or deleted.
        """

        def write(connection: sqlite3.Connection, digests: ImageDigests) -> bool:
            noted = connection.execute("SELECT path, is_stale FROM unjudged WHERE series_uid = ?", [series_uid])
            stale = dict(noted.fetchall())
            if any(stale.values()) and not digests.unreadable:
                self._exclusion.mark_again(connection, series_uid, digests.of)
            keys = connection.execute(
                "SELECT DISTINCT f.study_uid, f.series_uid, f.patient_id FROM unjudged u"
                " JOIN files f ON f.path = u.path AND f.series_uid = u.series_uid WHERE u.series_uid = ?",
                [series_uid],
            ).fetchall()
            for key in keys:
                self._exclusion.mark_copies(connection, SeriesKey(*key), set(stale), digests.of)
            if not digests.unreadable:
                connection.execute("DELETE FROM unjudged WHERE series_uid = ?", [series_uid])
            return any(stale.values())

        return self._write(write)

    def _write(self, write: Callable[[sqlite3.Connection, ImageDigests], _T]) -> _T:
        """Run a transaction, and repeat it until it needs no further digests."""
        digests = ImageDigests()
        result = self._try(write, digests)
        while digests.compute():
            result = self._try(write, digests)
        return result

    def _try(self, write: Callable[[sqlite3.Connection, ImageDigests], _T], digests: ImageDigests) -> _T:
        with self._database.transaction() as connection:
            result = write(connection, digests)
            if not digests.are_complete:
                connection.execute("ROLLBACK")
            return result


def _series_of(connection: sqlite3.Connection, paths: Iterable[str]) -> set[tuple[str, str]]:
    """Return SeriesInstanceUID and path of the files that belong to a series."""
    query = "SELECT series_uid, path FROM files WHERE path = ? AND series_uid IS NOT NULL"
    return {row for path in paths for row in connection.execute(query, [path])}


def _note(connection: sqlite3.Connection, files: set[tuple[str, str]], stale: set[tuple[str, str]]) -> set[str]:
    """Record files, given as SeriesInstanceUID and path, as unjudged, and return the SeriesInstanceUIDs."""
    connection.executemany(
        "INSERT INTO unjudged VALUES (?, ?, ?) ON CONFLICT (series_uid, path)"
        " DO UPDATE SET is_stale = max(is_stale, excluded.is_stale)",
        [(*file, file in stale) for file in sorted(files)],
    )
    return {uid for uid, _ in files}
