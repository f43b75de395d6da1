"""An index of the DICOM files below some folders, in SQLite, kept up to date while the folders change."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lib.dicomweb import attributes
from lib.dicomweb.dicom_file import NotUsableError, pixel_digest, read_index_header
from lib.dicomweb.folder_walk import FolderWalk, walk
from lib.dicomweb.header_fields import complete_uids, header_json, place_of
from lib.dicomweb.image_file import ImageFile, is_image_file, is_part_of_image_file, read_image_file
from lib.dicomweb.index_database import IndexDatabase, mending_damage, telling_damage
from lib.errors import in_one_line

logger = logging.getLogger(__name__)

_SCHEMA_VERSION = 4
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, problem TEXT,
    study_uid TEXT, series_uid TEXT, sop_uid TEXT, transfer_syntax TEXT, instance TEXT, place TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_by_series ON files (series_uid, study_uid, sop_uid);
CREATE TABLE IF NOT EXISTS images (path TEXT PRIMARY KEY, description TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS series (
    study_uid TEXT, series_uid TEXT, header TEXT, rank INTEGER, PRIMARY KEY (study_uid, series_uid)
) WITHOUT ROWID;
"""
_LOGGED = 5  # unreachable folders and files, of many
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

    Each file is read once, and again only when its size or time changes; it is forgotten when it is deleted, not when
    it cannot be reached. A file that cannot be used is kept with the reason; so is one that shows a slice of its series
    once more. NIfTI, NRRD and MetaImage files are taken as well, as images of their own. Nothing is ever written into
    the folders. Safe to use from several threads.

    Args:
        database: The SQLite file; may be deleted at any time while no server runs, and is made anew if damaged.
        roots: The folders, any depth, any file names. Where two have the same instance, the first counts.
    """

    def __init__(self, database: Path, roots: Sequence[Path]) -> None:
        self.roots = [Path(root).resolve() for root in roots]
        self._prefixes = [os.path.join(root, "") for root in self.roots]  # noqa: PTH118 - of path names, with a slash
        self._database = IndexDatabase(database, _SCHEMA, _SCHEMA_VERSION)
        self._scan_lock = threading.Lock()
        self._unreachable: list[tuple[Path, str]] = []
        self._changed_lock = threading.Lock()
        self._changed_series: set[str] = set()

    @property
    def _connection(self) -> sqlite3.Connection:
        """That of this thread."""
        return self._database.connection

    @mending_damage
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
            found = walk(self.roots, held_files=any(self._rank(path) == 0 for path in known))
            present = found.files
            gone = [path for path in known if path not in present and not found.is_away(path)]
            changed = [path for path, state in present.items() if known.get(path) != state]
            if gone or any(path in known for path in changed):
                changed += [path for path in copies if path in present]  # their original may be gone
            series_uids: set[str] = set()
            for start in range(0, len(changed), _BATCH):
                batch = changed[start : start + _BATCH]
                series_uids |= self._take_in([(path, *present[path]) for path in batch], found)
                if progress:
                    progress(start + len(batch), len(changed))
            self._note_changed(path for path in changed if path in known)
            self._forget(gone)
            self._mark_copies(set(changed), series_uids)
            self._note_unreachable([(Path(path), reason) for path, reason in sorted(found.unreachable.items())])
            return Scan(added=len(changed), removed=len(gone))

    def take_changed_series(self) -> set[str]:
        """Return the SeriesInstanceUIDs of which files changed, other than by new ones, since this was last asked."""
        with self._changed_lock:
            changed, self._changed_series = self._changed_series, set()
        return changed

    def unreachable(self) -> list[tuple[Path, str]]:
        """Return each folder and file that the last scan could not look at or read, with the reason.

        What was known of them is kept.
        """
        return self._unreachable

    def add(self, paths: Sequence[Path]) -> None:
        """Take in these files and look at no others; they lie below the folders. Waits for no scan."""
        files = []
        for path in paths:
            status = path.stat()
            files.append((str(path), status.st_size, status.st_mtime_ns))
        self._mark_copies({str(path) for path in paths}, self._take_in(files, FolderWalk()))

    def forget(self, paths: Sequence[Path]) -> None:
        """Forget files of the workspace that were moved away; waits for no scan."""
        self._forget([str(path) for path in paths])

    @telling_damage
    def series(
        self, study_uid: str | None = None, series_uid: str | None = None
    ) -> list[tuple[dict[str, dict[str, Any]], int]]:
        """Every series, or those asked for: DICOM JSON of study and series attributes, and number of instances.

        Of one study, those of the first folder come first: what they say of the patient counts.
        """
        wanted = {"s.study_uid": study_uid, "s.series_uid": series_uid}
        wanted = {column: uid for column, uid in wanted.items() if uid is not None}
        # Counted in the index files_by_series alone; the rows of the files are many times as long.
        rows = self._connection.execute(
            "SELECT s.header, (SELECT COUNT(DISTINCT f.sop_uid) FROM files f"
            " WHERE f.series_uid = s.series_uid AND f.study_uid = s.study_uid) AS instances FROM series s"
            f" WHERE {' AND '.join([*(f'{column} = ?' for column in wanted), 'instances > 0'])}"
            " ORDER BY s.study_uid, s.rank, s.series_uid",
            list(wanted.values()),
        )
        return [(json.loads(header), count) for header, count in rows]

    @telling_damage
    def instances(self, series_uid: str, sop_uid: str | None = None) -> list[IndexedFile]:
        """The instances of a series, or the one asked for; of a duplicate that of the first folder counts."""
        query = (
            "SELECT path, study_uid, series_uid, sop_uid, transfer_syntax, instance, size, mtime_ns"
            " FROM files WHERE series_uid = ?"
        )
        parameters = [series_uid]
        if sop_uid is not None:
            query, parameters = query + " AND sop_uid = ?", [series_uid, sop_uid]
        found: dict[str, IndexedFile] = {}
        rows = sorted(self._connection.execute(query, parameters), key=lambda row: (self._rank(row[0]), row[0]))
        for path, study, series, sop, syntax, instance, size, mtime in rows:
            version = f"{size}-{mtime}"
            found.setdefault(sop, IndexedFile(Path(path), study, series, sop, syntax, json.loads(instance), version))
        return list(found.values())

    @telling_damage
    def has_instance(self, sop_uid: str) -> bool:
        """Whether there is an instance with this SOPInstanceUID, in any series."""
        query = "SELECT 1 FROM files WHERE sop_uid = ? LIMIT 1"
        return self._connection.execute(query, [sop_uid]).fetchone() is not None

    @telling_damage
    def images(self) -> list[ImageFile]:
        """The NIfTI, NRRD and MetaImage files; of several with the same content the first."""
        rows = self._connection.execute("SELECT path, description FROM images ORDER BY path DESC")
        return list({image.uid: image for image in (ImageFile.from_json(*row) for row in rows)}.values())[::-1]

    @telling_damage
    def paths(self) -> set[Path]:
        """Every file that was looked at, usable or not."""
        return {Path(path) for (path,) in self._connection.execute("SELECT path FROM files")}

    @telling_damage
    def problems(self) -> list[tuple[Path, str]]:
        """Every file that cannot be used, with the reason."""
        rows = self._connection.execute("SELECT path, problem FROM files WHERE problem IS NOT NULL ORDER BY path")
        return [(Path(path), problem) for path, problem in rows]

    def _note_changed(self, paths: Iterable[str]) -> None:
        query = "SELECT series_uid FROM files WHERE path = ? AND series_uid IS NOT NULL"
        found = {uid for path in paths for (uid,) in self._connection.execute(query, [path])}
        with self._changed_lock:
            self._changed_series |= found

    def _note_unreachable(self, unreachable: list[tuple[Path, str]]) -> None:
        if unreachable != self._unreachable:
            for path, reason in unreachable[:_LOGGED]:
                logger.warning("%s cannot be reached (%s); what is known of it is kept", path, reason)
        self._unreachable = unreachable

    def _take_in(self, files: list[tuple[str, int, int]], found: FolderWalk) -> set[str]:
        """Read files, (path, size, mtime) of each, and keep what they say; returns the series that they belong to.

        Of one that the disk or network does not hand out, what was known is kept; it is read again by the next scan.
        """
        rows = []
        for file in files:
            try:
                rows.append(self._row(*file))
            except OSError as error:
                found.unreachable[file[0]] = error.strerror or str(error)
        self._store(rows)
        return {row.series[1] for row in rows if row.series}

    def _row(self, path: str, size: int, mtime_ns: int) -> _Row:
        try:
            return self._read(path, size, mtime_ns)
        except NotUsableError as error:
            reason = str(error)
        except OSError as error:
            if error.errno is not None:  # the system's; pydicom raises some of its own on damaged files
                raise
            reason = f"damaged DICOM file ({in_one_line(error)})"
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
        complete_uids(dataset, self._relative(Path(path)))
        study, series, sop = (
            str(dataset[keyword].value) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        )
        header = header_json(dataset, (*attributes.STUDY, *attributes.SERIES))
        instance = header_json(dataset, attributes.INSTANCE)
        place = place_of(json.loads(instance))
        return _Row(
            (path, size, mtime_ns, None, study, series, sop, transfer_syntax, instance, place),
            (study, series, header, self._rank(path)),
        )

    def _rank(self, path: str) -> int:
        """The place of the folder that a file lies in, among the roots."""
        return next((rank for rank, prefix in enumerate(self._prefixes) if path.startswith(prefix)), len(self.roots))

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
        rows = self._connection.execute(
            "SELECT path, sop_uid, place FROM files WHERE series_uid = ? AND place IS NOT NULL", [series_uid]
        )
        for path, sop_uid, place in sorted(rows, key=lambda row: (self._rank(row[0]), row[0])):
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
                "INSERT INTO series VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET header = excluded.header,"
                " rank = excluded.rank WHERE excluded.rank <= rank",
                [row.series for row in rows if row.series],
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
