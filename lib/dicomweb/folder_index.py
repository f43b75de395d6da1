"""An index of the DICOM files below some folders, in SQLite, kept up to date while the folders change."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lib.dicomweb import attributes
from lib.dicomweb.dicom_file import NotUsableError, damaged, read_index_header, text_of
from lib.dicomweb.image_file import ImageFile, is_image_file, is_part_of_image_file, read_image_file
from lib.dicomweb.image_kind import ImageKind
from lib.dicomweb.index_header import complete_uids, json_of, place_of, series_header
from lib.dicomweb.matching import first_value
from lib.dicomweb.set_aside import SeriesKey, SetAside

_SCHEMA_VERSION = 4
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, problem TEXT,
    study_uid TEXT, series_uid TEXT, patient_id TEXT, sop_uid TEXT, transfer_syntax TEXT, instance TEXT,
    place TEXT, kind TEXT, frames INTEGER, left_out TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_by_series ON files (series_uid, study_uid, patient_id, left_out, sop_uid);
CREATE INDEX IF NOT EXISTS files_by_instance ON files (series_uid, sop_uid);
CREATE INDEX IF NOT EXISTS files_by_kind ON files (series_uid, study_uid, patient_id, kind, frames);
CREATE INDEX IF NOT EXISTS files_with_problem ON files (problem) WHERE problem IS NOT NULL;
CREATE INDEX IF NOT EXISTS files_left_out ON files (series_uid, left_out) WHERE left_out IS NOT NULL;
CREATE TABLE IF NOT EXISTS images (path TEXT PRIMARY KEY, description TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS series (
    study_uid TEXT, series_uid TEXT, patient_id TEXT, header TEXT,
    PRIMARY KEY (study_uid, series_uid, patient_id)
) WITHOUT ROWID;
"""
_BATCH = 200
_NOTHING = (None,) * 10  # in the columns that only a DICOM instance fills
UNREADABLE = "cannot be read"  # begins the reason for a file or folder that the system does not let us read
_SOP_UID = 7  # its place in a row of ``files``
_SERIES_OF = "SELECT series_uid FROM files WHERE path = ?"
_AGAIN = -1  # as the time of a file that could not be read: it is tried at each scan


@dataclass(frozen=True)
class IndexedFile:
    """One readable DICOM instance of the index.

    Attributes:
        path: Where it is.
        study_uid, series_uid, sop_uid: Its UIDs; made up, but stable, where the file has none.
        patient_id: PatientID, empty where it has none.
        transfer_syntax: Transfer syntax UID of the file.
        attributes: DICOM JSON of the attributes at instance level.
        version: Changes when the file does (size and modification time).
    """

    path: Path
    study_uid: str
    series_uid: str
    patient_id: str
    sop_uid: str
    transfer_syntax: str
    attributes: dict[str, dict[str, Any]]
    version: str


@dataclass(frozen=True)
class Scan:
    """What one look at the folders found.

    Attributes:
        added: Files that are new or have changed.
        removed: Files that are gone.
    """

    added: int
    removed: int


class _Row(NamedTuple):
    """A file's row of ``files``, the series that it belongs to with its header, or its description in ``images``."""

    file: tuple
    key: SeriesKey | None = None
    header: str = ""
    image: str | None = None


class FolderIndex:
    """Which DICOM instance lies in which file.

    Each file is read once, and again only when its size or time changes. A file that cannot be used is kept
    with the reason; so is one that is left out of its series (:mod:`lib.dicomweb.set_aside`). NIfTI, NRRD and
    MetaImage files are taken as well, as images of their own. Nothing is ever written into the folders. Safe to
    use from several threads.

    Args:
        database: The SQLite file; may be deleted at any time while no server runs.
        roots: The folders, any depth, any file names.
    """

    def __init__(self, database: Path, roots: Sequence[Path]) -> None:
        self.roots = [Path(root).resolve() for root in roots]
        self._database = database
        self._local = threading.local()
        self._scan_lock = threading.Lock()
        self._set_aside = SetAside(self.roots[0], lambda path: series_header(read_index_header(path)[0]))
        self._unreadable: dict[str, str] = {}
        database.parent.mkdir(parents=True, exist_ok=True)
        if self._connection.execute("PRAGMA user_version").fetchone()[0] not in (0, _SCHEMA_VERSION):
            self._connection.executescript(
                "DROP TABLE IF EXISTS files; DROP TABLE IF EXISTS series; DROP TABLE IF EXISTS images;"
            )
        self._connection.executescript(_SCHEMA)
        self._connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    @property
    def _connection(self) -> sqlite3.Connection:
        """One connection for each thread: SQLite's may not be shared."""
        if not hasattr(self._local, "connection"):
            connection = sqlite3.connect(self._database, timeout=60, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            self._local.connection = connection
        return self._local.connection

    def scan(self, progress: Callable[[int, int], None] | None = None) -> Scan:
        """Look at the folders and take in what changed. Answers go on meanwhile.

        Args:
            progress: Called with (files read, files to read) after each batch.
        """
        with self._scan_lock:
            known = {
                path: (size, mtime)
                for path, size, mtime in self._connection.execute("SELECT path, size, mtime_ns FROM files")
            }
            self._unreadable = {}
            present = dict(self._walk())
            changed = [path for path, state in present.items() if known.get(path) != state]
            stale = self._series_of(path for path, state in known.items() if present.get(path) != state)
            series: set[SeriesKey] = set()
            for start in range(0, len(changed), _BATCH):
                batch = changed[start : start + _BATCH]
                series |= self._take_in([(path, *present[path]) for path in batch])
                if progress:
                    progress(start + len(batch), len(changed))
            gone = [path for path in known if path not in present]
            self._forget(gone)
            self._mark_copies(set(changed), series, stale)
            return Scan(added=len(changed), removed=len(gone))

    def add(self, paths: Sequence[Path]) -> None:
        """Take in these files and look at no others; they lie below the folders. Waits for no scan."""
        files = []
        for path in paths:
            status = path.stat()
            files.append((str(path), status.st_size, status.st_mtime_ns))
        paths_added = {str(path) for path in paths}
        stale = self._series_of(paths_added)
        self._mark_copies(paths_added, self._take_in(files), stale)

    def series(
        self, study_uid: str | None = None, series_uid: str | None = None
    ) -> list[tuple[dict[str, dict[str, Any]], int]]:
        """Every series, or those asked for: DICOM JSON of study and series attributes, and number of instances.

        Images of several patients that share a Series Instance UID are as many series here.
        """
        wanted = {"s.study_uid": study_uid, "s.series_uid": series_uid}
        wanted = {column: uid for column, uid in wanted.items() if uid is not None}
        where = f" WHERE {' AND '.join(f'{column} = ?' for column in wanted)}" if wanted else ""
        # Counted in the index files_by_series alone; the rows of the files are many times as long.
        rows = self._connection.execute(
            "SELECT s.header, (SELECT COUNT(DISTINCT f.sop_uid) FROM files f WHERE f.series_uid = s.series_uid"
            " AND f.study_uid = s.study_uid AND f.patient_id = s.patient_id AND f.left_out IS NULL) FROM series s"
            f"{where} ORDER BY s.study_uid, s.series_uid, s.patient_id",
            list(wanted.values()),
        )
        return [(json.loads(header), count) for header, count in rows]

    def instances(self, series_uid: str, sop_uid: str | None = None) -> list[IndexedFile]:
        """The instances of a series, or the one asked for, without those that are left out of it."""
        query = (
            "SELECT path, study_uid, series_uid, patient_id, sop_uid, transfer_syntax, instance, size, mtime_ns"
            " FROM files WHERE series_uid = ? AND left_out IS NULL"
        )
        parameters = [series_uid]
        if sop_uid is not None:
            query, parameters = query + " AND sop_uid = ?", [series_uid, sop_uid]
        return [
            IndexedFile(Path(path), *names, json.loads(instance), f"{size}-{mtime}")
            for path, *names, instance, size, mtime in self._connection.execute(query + " ORDER BY path", parameters)
        ]

    def left_out(self) -> dict[str, list[tuple[Path, str]]]:
        """The files that are left out of each series, by SeriesInstanceUID, with the reason."""
        found: dict[str, list[tuple[Path, str]]] = {}
        for series_uid, path, reason in self._connection.execute(
            "SELECT series_uid, path, left_out FROM files INDEXED BY files_left_out WHERE left_out IS NOT NULL"
        ):
            found.setdefault(series_uid, []).append((Path(path), reason))
        return {series_uid: sorted(files) for series_uid, files in found.items()}

    def images(self) -> list[ImageFile]:
        """The NIfTI, NRRD and MetaImage files; of several with the same content the first."""
        rows = self._connection.execute("SELECT path, description FROM images ORDER BY path DESC")
        return list({image.uid: image for image in (ImageFile.from_json(*row) for row in rows)}.values())[::-1]

    def paths(self) -> set[Path]:
        """Every file that was looked at, usable or not."""
        return {Path(path) for (path,) in self._connection.execute("SELECT path FROM files")}

    def problems(self) -> list[tuple[Path, str]]:
        """Every file and folder that cannot be used, and every file that is left out of its series, with the reason."""
        rows = self._connection.execute(
            "SELECT path, problem FROM files INDEXED BY files_with_problem WHERE problem IS NOT NULL"
            " UNION ALL SELECT path, left_out FROM files INDEXED BY files_left_out WHERE left_out IS NOT NULL"
        )
        return sorted((Path(path), problem) for path, problem in (*rows, *self._unreadable.items()))

    def _walk(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Yield (path, (size, mtime)) of every file; links are followed, each folder once."""
        visited: set[str] = set()
        for root in self.roots:
            for folder, subfolders, names in os.walk(root, onerror=self._note_unreadable, followlinks=True):
                real = os.path.realpath(folder)
                if real in visited:
                    subfolders.clear()
                    continue
                visited.add(real)
                for name in names:
                    path = os.path.join(folder, name)  # noqa: PTH118 - pathlib is 3 times slower here
                    try:
                        status = os.stat(path)  # noqa: PTH116
                    except OSError as error:
                        self._note_unreadable(error)
                        continue
                    if not name.startswith(".part-"):
                        yield path, (status.st_size, status.st_mtime_ns)

    def _note_unreadable(self, error: OSError) -> None:
        what = "folder" if Path(str(error.filename)).is_dir() else "file"
        self._unreadable[str(error.filename)] = f"{UNREADABLE} ({what}): {error.strerror or type(error).__name__}"

    def _take_in(self, files: list[tuple[str, int, int]]) -> set[SeriesKey]:
        """Read files, (path, size, mtime) of each, and keep what they say; returns the series that they belong to."""
        rows = [self._row(*file) for file in files]
        self._store(rows)
        return {row.key for row in rows if row.key}

    def _series_of(self, paths: Iterable[str]) -> set[str]:
        """SeriesInstanceUIDs that files have in the index."""
        found = set()
        for path in paths:
            found.update(uid for (uid,) in self._connection.execute(_SERIES_OF, [path]) if uid)
        return found

    def _row(self, path: str, size: int, mtime_ns: int) -> _Row:
        try:
            return self._read(path, size, mtime_ns)
        except NotUsableError as error:
            reason = str(error)
        except OSError as error:  # no permission, or a disk that fails: it may be readable at the next scan
            reason, mtime_ns = f"{UNREADABLE} (file): {error.strerror or type(error).__name__}", _AGAIN
        except Exception as error:  # pydicom raises many kinds; no file may end the scan of the others
            reason = str(damaged(error))
        return _Row((path, size, mtime_ns, reason, *_NOTHING))

    def _read(self, path: str, size: int, mtime_ns: int) -> _Row:
        """Read a file into its row of ``files`` and, if it can be used, of ``series`` or ``images``."""
        if is_part_of_image_file(Path(path)):
            return _Row((path, size, mtime_ns, None, *_NOTHING))
        if is_image_file(Path(path)):
            return _Row((path, size, mtime_ns, None, *_NOTHING), image=read_image_file(Path(path)).to_json())
        dataset, transfer_syntax = read_index_header(Path(path))
        complete_uids(dataset, self._relative(Path(path)))
        study, series, sop = (
            str(dataset[keyword].value) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        )
        key = SeriesKey(study, series, text_of(dataset, "PatientID").strip())
        instance = json_of(dataset, attributes.INSTANCE)
        described = json.loads(instance)
        kind = ImageKind.of(text_of(dataset, "Modality"), described).to_json()
        frames = first_value(described, "NumberOfFrames")
        frames = int(frames) if frames.isdecimal() else 1
        return _Row(
            (path, size, mtime_ns, None, *key, sop, transfer_syntax, instance, place_of(described), kind, frames, None),
            key,
            series_header(dataset),
        )

    def _relative(self, path: Path) -> Path:
        return next((path.relative_to(root) for root in self.roots if path.is_relative_to(root)), path)

    def _mark_copies(self, changed: set[str], series: set[SeriesKey], stale: set[str]) -> None:
        """Leave copies out of the series of changed files; judge anew those of which files have changed or gone."""
        for uid in stale:
            with self._connection as connection:
                connection.execute("BEGIN")
                self._set_aside.renew(connection, uid)
        for key in series:
            with self._connection as connection:
                connection.execute("BEGIN")
                self._set_aside.mark_copies(connection, key, changed)

    def _store(self, rows: list[_Row]) -> None:
        with self._connection as connection:
            connection.execute("BEGIN")
            connection.executemany(
                f"INSERT OR REPLACE INTO files VALUES ({', '.join('?' * 14)})", [row.file for row in rows]
            )
            connection.executemany(
                "INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?)", [(*row.key, row.header) for row in rows if row.key]
            )
            self._set_aside.mark_taken_in(connection, [(row.key, row.file[_SOP_UID]) for row in rows if row.key])
            connection.executemany("DELETE FROM images WHERE path = ?", [row.file[:1] for row in rows])
            connection.executemany(
                "INSERT INTO images VALUES (?, ?)", [(row.file[0], row.image) for row in rows if row.image]
            )

    def _forget(self, paths: list[str]) -> None:
        with self._connection as connection:
            connection.execute("BEGIN")
            for table in ("files", "images"):
                connection.executemany(f"DELETE FROM {table} WHERE path = ?", [(path,) for path in paths])
            if paths:
                connection.execute(
                    "DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.series_uid = series.series_uid"
                    " AND f.study_uid = series.study_uid AND f.patient_id = series.patient_id)"
                )
