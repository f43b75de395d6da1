"""An index of the DICOM files below some folders, in SQLite, kept up to date while the folders change."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.uid import generate_uid

from lib.dicomweb import attributes
from lib.dicomweb.dicom_file import NotUsableError, read_index_header

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, problem TEXT,
    study_uid TEXT, series_uid TEXT, sop_uid TEXT, transfer_syntax TEXT, instance TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_by_series ON files (series_uid, sop_uid);
CREATE TABLE IF NOT EXISTS series (
    study_uid TEXT, series_uid TEXT, header TEXT, PRIMARY KEY (study_uid, series_uid)
) WITHOUT ROWID;
"""
_BATCH = 200


@dataclass(frozen=True)
class IndexedFile:
    """One readable DICOM instance of the index.

    Attributes:
        path: Where it is.
        study_uid, series_uid, sop_uid: Its UIDs; made up, but stable, where the file has none.
        transfer_syntax: Transfer syntax UID of the file.
        attributes: DICOM JSON of the attributes at instance level.
        version: Changes when the file does (size and modification time).
    """

    path: Path
    study_uid: str
    series_uid: str
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


class FolderIndex:
    """Which DICOM instance lies in which file.

    Each file is read once, and again only when its size or time changes. A file that cannot be used is kept
    with the reason. Nothing is ever written into the folders. Safe to use from several threads.

    Args:
        database: The SQLite file; may be deleted at any time while no server runs.
        roots: The folders, any depth, any file names.
    """

    def __init__(self, database: Path, roots: Sequence[Path]) -> None:
        self.roots = [Path(root).resolve() for root in roots]
        self._database = database
        self._local = threading.local()
        self._scan_lock = threading.Lock()
        database.parent.mkdir(parents=True, exist_ok=True)
        if self._connection.execute("PRAGMA user_version").fetchone()[0] not in (0, _SCHEMA_VERSION):
            self._connection.executescript("DROP TABLE IF EXISTS files; DROP TABLE IF EXISTS series;")
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
            present = dict(self._walk())
            changed = [path for path, state in present.items() if known.get(path) != state]
            for start in range(0, len(changed), _BATCH):
                batch = changed[start : start + _BATCH]
                self._store([self._row(path, *present[path]) for path in batch])
                if progress:
                    progress(start + len(batch), len(changed))
            gone = [path for path in known if path not in present]
            self._forget(gone)
            return Scan(added=len(changed), removed=len(gone))

    def series(self) -> list[tuple[dict[str, dict[str, Any]], int]]:
        """Every series: DICOM JSON of its study and series attributes, and its number of instances."""
        rows = self._connection.execute(
            "SELECT s.header, COUNT(DISTINCT f.sop_uid) FROM series s JOIN files f"
            " ON f.series_uid = s.series_uid AND f.study_uid = s.study_uid"
            " GROUP BY s.study_uid, s.series_uid ORDER BY s.study_uid, s.series_uid"
        )
        return [(json.loads(header), count) for header, count in rows]

    def instances(self, series_uid: str, sop_uid: str | None = None) -> list[IndexedFile]:
        """The instances of a series, or the one asked for; a duplicate of an instance is left out."""
        query = (
            "SELECT path, study_uid, series_uid, sop_uid, transfer_syntax, instance, size, mtime_ns"
            " FROM files WHERE series_uid = ?"
        )
        parameters = [series_uid]
        if sop_uid is not None:
            query, parameters = query + " AND sop_uid = ?", [series_uid, sop_uid]
        found: dict[str, IndexedFile] = {}
        for path, study, series, sop, syntax, instance, size, mtime in self._connection.execute(
            query + " ORDER BY path", parameters
        ):
            version = f"{size}-{mtime}"
            found.setdefault(sop, IndexedFile(Path(path), study, series, sop, syntax, json.loads(instance), version))
        return list(found.values())

    def problems(self) -> list[tuple[Path, str]]:
        """Every file that cannot be used, with the reason."""
        rows = self._connection.execute("SELECT path, problem FROM files WHERE problem IS NOT NULL ORDER BY path")
        return [(Path(path), problem) for path, problem in rows]

    def _walk(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Yield (path, (size, mtime)) of every file; links are followed, each folder once."""
        visited: set[str] = set()
        for root in self.roots:
            for folder, subfolders, names in os.walk(root, followlinks=True):
                real = os.path.realpath(folder)
                if real in visited:
                    subfolders.clear()
                    continue
                visited.add(real)
                for name in names:
                    path = os.path.join(folder, name)  # noqa: PTH118 - pathlib is 3 times slower here
                    try:
                        status = os.stat(path)  # noqa: PTH116
                    except OSError:
                        continue
                    if not name.startswith(".part-"):
                        yield path, (status.st_size, status.st_mtime_ns)

    def _row(self, path: str, size: int, mtime_ns: int) -> tuple[tuple, tuple | None]:
        """Read a file into its row of ``files`` and, if it can be used, its row of ``series``."""
        try:
            dataset, transfer_syntax = read_index_header(Path(path))
        except (NotUsableError, OSError) as error:
            return (path, size, mtime_ns, str(error), None, None, None, None, None), None
        _complete_uids(dataset, self._relative(Path(path)))
        study, series, sop = (
            str(dataset[keyword].value) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        )
        header = _json(dataset, (*attributes.STUDY, *attributes.SERIES))
        instance = _json(dataset, attributes.INSTANCE)
        file_row = (path, size, mtime_ns, None, study, series, sop, transfer_syntax, instance)
        return file_row, (study, series, header)

    def _relative(self, path: Path) -> Path:
        return next((path.relative_to(root) for root in self.roots if path.is_relative_to(root)), path)

    def _store(self, rows: list[tuple[tuple, tuple | None]]) -> None:
        with self._connection as connection:
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [file for file, _ in rows]
            )
            connection.executemany(
                "INSERT OR REPLACE INTO series VALUES (?, ?, ?)", [series for _, series in rows if series]
            )

    def _forget(self, paths: list[str]) -> None:
        with self._connection as connection:
            connection.execute("BEGIN")
            connection.executemany("DELETE FROM files WHERE path = ?", [(path,) for path in paths])
            if paths:
                connection.execute(
                    "DELETE FROM series WHERE series_uid NOT IN"
                    " (SELECT series_uid FROM files WHERE series_uid IS NOT NULL)"
                )


def _complete_uids(dataset: Dataset, relative: Path) -> None:
    """Give an instance without UIDs stable ones, made of where it lies and what its header says."""
    folder = str(relative.parent)
    patient = str(dataset.get("PatientID", ""))
    study = [folder, patient, str(dataset.get("StudyDate", "")), str(dataset.get("StudyID", ""))]
    series = [*study, str(dataset.get("SeriesNumber", "")), str(dataset.get("SeriesDescription", ""))]
    for keyword, sources in (
        ("StudyInstanceUID", ["study", *study]),
        ("SeriesInstanceUID", ["series", *series]),
        ("SOPInstanceUID", ["instance", str(relative)]),
    ):
        if not str(dataset.get(keyword) or ""):
            setattr(dataset, keyword, generate_uid(entropy_srcs=sources))


def _json(dataset: Dataset, keywords: tuple[str, ...]) -> str:
    kept = Dataset()
    for keyword in keywords:
        if keyword in dataset:
            kept[keyword] = dataset[keyword]
    return json.dumps(kept.to_json_dict(suppress_invalid_tags=True))
