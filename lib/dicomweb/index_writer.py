"""What is written into the index: the rows of files, and which series are still to be judged for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from lib.dicomweb.image_digest import ImageDigests
from lib.dicomweb.index_database import IndexDatabase
from lib.dicomweb.set_aside import SeriesKey, SetAside

SCHEMA_VERSION = 6
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
_SOP_UID = 7  # its place in a row of ``files``

_T = TypeVar("_T")


class IndexRow(NamedTuple):
    """A file's row of ``files``, the series that it belongs to with its header, or its description in ``images``."""

    file: tuple
    key: SeriesKey | None = None
    header: str = ""
    rank: int = 0  # place among the roots of the folder that the file lies in
    image: str | None = None


class IndexWriter:
    """Writes into the index, each time in one transaction.

    What is stored or forgotten is noted in the table ``unjudged`` in the same transaction, and stays there until its
    series is judged, whatever fails or is killed in between. A row is a file that is new or, where it ``is_stale``, was
    known in the series and has changed or gone.

    Args:
        database: The index, of :data:`SCHEMA`.
        set_aside: Judges which files are left out.
    """

    def __init__(self, database: IndexDatabase, set_aside: SetAside) -> None:
        self._database = database
        self._set_aside = set_aside

    def store(self, rows: Sequence[IndexRow]) -> set[str]:
        """Write the rows of files; returns the SeriesInstanceUIDs that are to be judged for it."""

        def write(connection: sqlite3.Connection, digests: ImageDigests) -> set[str]:
            former = _series_of(connection, [row.file[0] for row in rows])
            connection.executemany(
                f"INSERT OR REPLACE INTO files VALUES ({', '.join('?' * 14)})", [row.file for row in rows]
            )
            # SQLite before 3.35 wants the columns of the conflict named.
            connection.executemany(
                "INSERT INTO series VALUES (?, ?, ?, ?, ?) ON CONFLICT (study_uid, series_uid, patient_id)"
                " DO UPDATE SET header = excluded.header, rank = excluded.rank WHERE excluded.rank <= rank",
                [(*row.key, row.header, row.rank) for row in rows if row.key],
            )
            instances = [(row.key, row.file[_SOP_UID]) for row in rows if row.key]
            self._set_aside.mark_taken_in(connection, instances, digests.of)
            connection.executemany("DELETE FROM images WHERE path = ?", [row.file[:1] for row in rows])
            connection.executemany(
                "INSERT INTO images VALUES (?, ?)", [(row.file[0], row.image) for row in rows if row.image]
            )
            known = {path for _, path in former}
            now = [(row.key.series_uid, row.file[0]) for row in rows if row.key]
            # Twins of a file that cannot be read now are judged anew when it can.
            stale = {one for one in now if one[1] in known or digests.unreadable}
            return _note(connection, {*former, *now}, {*former, *stale})

        return self._write(write)

    def forget(self, paths: Sequence[str]) -> set[str]:
        """Remove the rows of files; returns the SeriesInstanceUIDs that are to be judged for it."""
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
        """SeriesInstanceUIDs of the series that are still to be judged."""
        return {uid for (uid,) in self._database.connection.execute("SELECT DISTINCT series_uid FROM unjudged")}

    def judge(self, series_uid: str) -> bool:
        """Leave copies out of a series; decide anew what is left out of it if files of it have changed or gone.

        While one of the files in question cannot be read, nothing that is left out is taken back, and the series is
        still to be judged.

        Returns:
            Whether files that were known have changed or gone.
        """

        def write(connection: sqlite3.Connection, digests: ImageDigests) -> bool:
            noted = connection.execute("SELECT path, is_stale FROM unjudged WHERE series_uid = ?", [series_uid])
            stale = dict(noted.fetchall())
            if any(stale.values()) and not digests.unreadable:
                self._set_aside.renew(connection, series_uid, digests.of)
            keys = connection.execute(
                "SELECT DISTINCT f.study_uid, f.series_uid, f.patient_id FROM unjudged u"
                " JOIN files f ON f.path = u.path AND f.series_uid = u.series_uid WHERE u.series_uid = ?",
                [series_uid],
            ).fetchall()
            for key in keys:
                self._set_aside.mark_copies(connection, SeriesKey(*key), set(stale), digests.of)
            if not digests.unreadable:
                connection.execute("DELETE FROM unjudged WHERE series_uid = ?", [series_uid])
            return any(stale.values())

        return self._write(write)

    def _write(self, write: Callable[[sqlite3.Connection, ImageDigests], _T]) -> _T:
        """Run a transaction, again for as long as it asks for digests that are not computed yet."""
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
    """SeriesInstanceUID and path of those of these files that belong to a series."""
    query = "SELECT series_uid, path FROM files WHERE path = ? AND series_uid IS NOT NULL"
    return {row for path in paths for row in connection.execute(query, [path])}


def _note(connection: sqlite3.Connection, files: set[tuple[str, str]], stale: set[tuple[str, str]]) -> set[str]:
    """Note files, SeriesInstanceUID and path of each, as unjudged; returns the SeriesInstanceUIDs."""
    connection.executemany(
        "INSERT INTO unjudged VALUES (?, ?, ?) ON CONFLICT (series_uid, path)"
        " DO UPDATE SET is_stale = max(is_stale, excluded.is_stale)",
        [(*file, file in stale) for file in sorted(files)],
    )
    return {uid for uid, _ in files}
