"""An index of the DICOM files below some folders, in SQLite, kept up to date while the folders change."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydicom import Dataset
from pydicom.uid import generate_uid

from lib.dicomweb import attributes
from lib.dicomweb.dicom_file import NotUsableError, pixel_digest, read_index_header
from lib.dicomweb.image_file import ImageFile, is_image_file, is_part_of_image_file, read_image_file
from lib.errors import in_one_line

_SCHEMA_VERSION = 4
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, problem TEXT,
    study_uid TEXT, series_uid TEXT, sop_uid TEXT, transfer_syntax TEXT, instance TEXT, place TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_by_series ON files (series_uid, study_uid, sop_uid);
CREATE TABLE IF NOT EXISTS images (path TEXT PRIMARY KEY, description TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS series (
    study_uid TEXT, series_uid TEXT, header TEXT, PRIMARY KEY (study_uid, series_uid)
) WITHOUT ROWID;
"""
_BATCH = 200
_NOTHING = (None,) * 6  # in the columns that only a DICOM instance fills
_COPY = "the same slice once more: same place and pixels under another SOP Instance UID"


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


class _Row(NamedTuple):
    """A file's row of ``files``, and its row of ``series`` or its description in ``images``."""

    file: tuple
    series: tuple | None = None
    image: str | None = None


class FolderIndex:
    """Which DICOM instance lies in which file.

    Each file is read once, and again only when its size or time changes. A file that cannot be used is kept
    with the reason; so is one that shows a slice of its series once more. NIfTI, NRRD and MetaImage files are
    taken as well, as images of their own. Nothing is ever written into the folders. Safe to use from several
    threads.

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
            known, copies = {}, set()
            for path, size, mtime, problem in self._connection.execute(
                "SELECT path, size, mtime_ns, problem FROM files"
            ):
                known[path] = (size, mtime)
                if problem == _COPY:
                    copies.add(path)
            present = dict(self._walk())
            changed = [path for path, state in present.items() if known.get(path) != state]
            if any(present.get(path) != state for path, state in known.items()):
                changed += [path for path in copies if path in present]  # their original may be gone
            series_uids: set[str] = set()
            for start in range(0, len(changed), _BATCH):
                batch = changed[start : start + _BATCH]
                series_uids |= self._take_in([(path, *present[path]) for path in batch])
                if progress:
                    progress(start + len(batch), len(changed))
            gone = [path for path in known if path not in present]
            self._forget(gone)
            self._mark_copies(set(changed), series_uids)
            return Scan(added=len(changed), removed=len(gone))

    def add(self, paths: Sequence[Path]) -> None:
        """Take in these files and look at no others; they lie below the folders. Waits for no scan."""
        files = []
        for path in paths:
            status = path.stat()
            files.append((str(path), status.st_size, status.st_mtime_ns))
        self._mark_copies({str(path) for path in paths}, self._take_in(files))

    def series(
        self, study_uid: str | None = None, series_uid: str | None = None
    ) -> list[tuple[dict[str, dict[str, Any]], int]]:
        """Every series, or those asked for: DICOM JSON of study and series attributes, and number of instances."""
        wanted = {"s.study_uid": study_uid, "s.series_uid": series_uid}
        wanted = {column: uid for column, uid in wanted.items() if uid is not None}
        # Counted in the index files_by_series alone; the rows of the files are many times as long.
        rows = self._connection.execute(
            "SELECT s.header, (SELECT COUNT(DISTINCT f.sop_uid) FROM files f"
            " WHERE f.series_uid = s.series_uid AND f.study_uid = s.study_uid) AS instances FROM series s"
            f" WHERE {' AND '.join([*(f'{column} = ?' for column in wanted), 'instances > 0'])}"
            " ORDER BY s.study_uid, s.series_uid",
            list(wanted.values()),
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

    def images(self) -> list[ImageFile]:
        """The NIfTI, NRRD and MetaImage files; of several with the same content the first."""
        rows = self._connection.execute("SELECT path, description FROM images ORDER BY path DESC")
        return list({image.uid: image for image in (ImageFile.from_json(*row) for row in rows)}.values())[::-1]

    def paths(self) -> set[Path]:
        """Every file that was looked at, usable or not."""
        return {Path(path) for (path,) in self._connection.execute("SELECT path FROM files")}

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

    def _take_in(self, files: list[tuple[str, int, int]]) -> set[str]:
        """Read files, (path, size, mtime) of each, and keep what they say; returns the series that they belong to."""
        rows = [self._row(*file) for file in files]
        self._store(rows)
        return {row.series[1] for row in rows if row.series}

    def _row(self, path: str, size: int, mtime_ns: int) -> _Row:
        try:
            return self._read(path, size, mtime_ns)
        except (NotUsableError, OSError) as error:
            reason = str(error)
        except Exception as error:  # pydicom raises many kinds; no file may end the scan of the others
            reason = f"damaged DICOM file ({in_one_line(error)})"
        return _Row((path, size, mtime_ns, reason, *_NOTHING))

    def _read(self, path: str, size: int, mtime_ns: int) -> _Row:
        """Read a file into its row of ``files`` and, if it can be used, its row of ``series`` or of ``images``."""
        if is_part_of_image_file(Path(path)):
            return _Row((path, size, mtime_ns, None, *_NOTHING))
        if is_image_file(Path(path)):
            return _Row((path, size, mtime_ns, None, *_NOTHING), image=read_image_file(Path(path)).to_json())
        dataset, transfer_syntax = read_index_header(Path(path))
        _complete_uids(dataset, self._relative(Path(path)))
        study, series, sop = (
            str(dataset[keyword].value) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        )
        header = _json(dataset, (*attributes.STUDY, *attributes.SERIES))
        instance = _json(dataset, attributes.INSTANCE)
        place = _place(json.loads(instance))
        return _Row(
            (path, size, mtime_ns, None, study, series, sop, transfer_syntax, instance, place), (study, series, header)
        )

    def _relative(self, path: Path) -> Path:
        return next((path.relative_to(root) for root in self.roots if path.is_relative_to(root)), path)

    def _mark_copies(self, changed: set[str], series_uids: set[str]) -> None:
        """Keep each slice once: OHIF would stack a copy under another SOP Instance UID as a slice of its own.

        Args:
            changed: Paths that are new or have changed.
            series_uids: The series that they belong to.
        """
        copies = []
        for series_uid in series_uids:
            copies += self._copies(series_uid, changed)
        with self._connection as connection:
            connection.execute("BEGIN")
            connection.executemany(
                "UPDATE files SET problem = ?, study_uid = NULL, series_uid = NULL, sop_uid = NULL WHERE path = ?",
                [(_COPY, path) for path in copies],
            )

    def _copies(self, series_uid: str, changed: set[str]) -> list[str]:
        """Paths of a series that show a slice once more, where one of the two is among ``changed``."""
        places: dict[str, list[tuple[str, str]]] = {}
        for path, sop_uid, place in self._connection.execute(
            "SELECT path, sop_uid, place FROM files WHERE series_uid = ? AND place IS NOT NULL ORDER BY path",
            [series_uid],
        ):
            places.setdefault(place, []).append((path, sop_uid))
        copies = []
        for files in places.values():
            paths = [path for path, _ in files]
            if len({sop_uid for _, sop_uid in files}) == 1 or changed.isdisjoint(paths):
                continue
            originals: set[str] = set()
            for path in paths:
                digest = pixel_digest(Path(path))
                copies += [path] if digest in originals else []
                originals.add(digest)
        return copies

    def _store(self, rows: list[_Row]) -> None:
        with self._connection as connection:
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [row.file for row in rows]
            )
            connection.executemany(
                "INSERT OR REPLACE INTO series VALUES (?, ?, ?)", [row.series for row in rows if row.series]
            )
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


def _place(instance: dict[str, Any]) -> str | None:
    """Where a slice lies, as a text that is the same for two at one place; None where it does not say."""
    numbers = [value for tag in ("00200032", "00200037") for value in instance.get(tag, {}).get("Value", ())]
    return json.dumps([round(value, 4) for value in numbers]) if numbers and None not in numbers else None


def _json(dataset: Dataset, keywords: tuple[str, ...]) -> str:
    kept = Dataset()
    for keyword in keywords:
        if keyword in dataset:
            kept[keyword] = dataset[keyword]
    return json.dumps(kept.to_json_dict(suppress_invalid_tags=True))
