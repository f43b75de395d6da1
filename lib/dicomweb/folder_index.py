"""SQLite index of the DICOM files below some folders, updated while the folders change."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.dicomweb import attributes
from lib.dicomweb.dicom_file import NotUsableError, damaged_file_error, read_index_header, text_of
from lib.dicomweb.file_exclusion import FileExclusion, SeriesKey
from lib.dicomweb.folder_walk import FolderWalk, walk
from lib.dicomweb.image_file import ImageFile, is_image_file, is_part_of_image_file, read_image_file
from lib.dicomweb.image_kind import ImageKind
from lib.dicomweb.index_database import IndexDatabase, rebuilds_damaged_index, reports_damage
from lib.dicomweb.index_header import complete_uids, json_of, position_key, series_header
from lib.dicomweb.index_writer import SCHEMA, SCHEMA_VERSION, IndexRow, IndexWriter
from lib.dicomweb.matching import first_value

logger = logging.getLogger(__name__)

_BATCH = 200
_NO_INSTANCE = (None,) * 10  # values of the columns that only DICOM instances have
UNREADABLE = "cannot be read"  # prefix of the reason for a file or folder that the system cannot read
_FILES_OF_SERIES = (
    "FROM files f WHERE f.series_uid = s.series_uid AND f.study_uid = s.study_uid AND f.patient_id = s.patient_id"
)
_MAX_LOGGED = 5  # unreachable folders and files


@dataclass(frozen=True)
class IndexedFile:
    """DICOM instance in the index.

    Attributes:
        path: Path of the file.
        study_uid, series_uid, sop_uid: UIDs; generated, but stable, if the file has none.
        patient_id: PatientID; empty if the file has none.
        transfer_syntax: Transfer syntax UID of the file.
        attributes: DICOM JSON of the attributes at instance level.
        version: Value that changes when the file changes (size and modification time).
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
class FolderChanges:
    """Result of a scan of the folders.

    Attributes:
        added: Number of new or changed files.
        removed: Number of deleted files.
    """

    added: int
    removed: int


class FolderIndex:
    """Index of DICOM instances and their files.

    Each file is read once, and again only when its size or modification time changes; it is removed from the index when
    it is deleted, not when it is unreachable. Files that cannot be used, or are left out of their series
    (:mod:`lib.dicomweb.file_exclusion`), are indexed with the reason. Each NIfTI, NRRD and MetaImage file is indexed
    as a separate image. The folders are never written to. Thread-safe.

    Args:
        database: The SQLite file; can be deleted while no server runs, and is rebuilt if damaged.
        roots: The folders, with any depth and file names. If two have the same instance, the first takes precedence.
    """

    def __init__(self, database: Path, roots: Sequence[Path]) -> None:
        self.roots = [Path(root).resolve() for root in roots]
        self._prefixes = [os.path.join(root, "") for root in self.roots]  # noqa: PTH118 - prefixes of path names, with a slash
        self._database = IndexDatabase(database, SCHEMA, SCHEMA_VERSION)
        self._scan_lock = threading.Lock()
        exclusion = FileExclusion(self.roots[0], lambda path: series_header(read_index_header(path)[0]))
        self._writer = IndexWriter(self._database, exclusion)
        self._unreachable: list[tuple[Path, str]] = []
        self._changed_lock = threading.Lock()
        self._changed_series: set[str] = set()

    @property
    def _connection(self) -> sqlite3.Connection:
        """Connection of the calling thread."""
        return self._database.connection

    @rebuilds_damaged_index
    def scan(self, progress: Callable[[int, int], None] | None = None) -> FolderChanges:
        """Update the index with the changes in the folders. Queries are served during the scan.

        Args:
            progress: Called with (files read, files to read) after each batch.
        """
        with self._scan_lock:
            known = {
                path: (size, mtime)
                for path, size, mtime in self._connection.execute("SELECT path, size, mtime_ns FROM files")
            }
            found = walk(self.roots, had_files=any(self._rank(path) == 0 for path in known))
            present = found.files
            deleted = [path for path in known if path not in present and not found.is_unreachable(path)]
            changed = [path for path, state in present.items() if known.get(path) != state]
            for start in range(0, len(changed), _BATCH):
                batch = changed[start : start + _BATCH]
                self._add([(path, *present[path]) for path in batch], found)
                if progress:
                    progress(start + len(batch), len(changed))
            self._writer.forget(deleted)
            self._judge(self._writer.unjudged())
            self._note_unreachable([(Path(path), reason) for path, reason in sorted(found.unreachable.items())])
            return FolderChanges(added=len(changed), removed=len(deleted))

    def take_changed_series(self) -> set[str]:
        """Return and reset the SeriesInstanceUIDs with changed or deleted files; new files alone do not count."""
        with self._changed_lock:
            changed, self._changed_series = self._changed_series, set()
        return changed

    def note_changed_series(self, series_uids: set[str]) -> None:
        """Add SeriesInstanceUIDs to the next result of :meth:`take_changed_series`."""
        with self._changed_lock:
            self._changed_series |= series_uids

    def unreachable(self) -> list[tuple[Path, str]]:
        """Return each folder and file that the last scan could not read, with the reason; their entries are kept."""
        return self._unreachable

    @reports_damage
    def add(self, paths: Sequence[Path]) -> None:
        """Add or update these files below the folders, without waiting for a running scan."""
        files = []
        for path in paths:
            status = path.stat()
            files.append((str(path), status.st_size, status.st_mtime_ns))
        self._judge(self._add(files, FolderWalk()))

    @reports_damage
    def forget(self, paths: Sequence[Path]) -> None:
        """Remove files of the workspace that were moved away, without waiting for a running scan."""
        self._judge(self._writer.forget([str(path) for path in paths]))

    @reports_damage
    def series(
        self, study_uid: str | None = None, series_uid: str | None = None
    ) -> list[tuple[dict[str, dict[str, Any]], int]]:
        """Return DICOM JSON of study and series attributes, and number of instances, of all or the given series.

        Images of several patients that share a Series Instance UID form one series per patient. Within a study, series
        of the first folder come first, because their patient attributes take precedence.
        """
        wanted = {"s.study_uid": study_uid, "s.series_uid": series_uid}
        wanted = {column: uid for column, uid in wanted.items() if uid is not None}
        # Counted in the index files_by_series alone, since the rows of the table are many times as long.
        rows = self._connection.execute(
            f"SELECT s.header, (SELECT COUNT(DISTINCT f.sop_uid) {_FILES_OF_SERIES} AND f.left_out IS NULL)"
            f" FROM series s WHERE EXISTS (SELECT 1 {_FILES_OF_SERIES})"
            f"{''.join(f' AND {column} = ?' for column in wanted)}"
            " ORDER BY s.study_uid, s.rank, s.series_uid, s.patient_id",
            list(wanted.values()),
        )
        return [(json.loads(header), count) for header, count in rows]

    @reports_damage
    def instances(self, series_uid: str, sop_uid: str | None = None) -> list[IndexedFile]:
        """Return the instances of a series, or the given one, without those that are left out."""
        query = (
            "SELECT path, study_uid, series_uid, patient_id, sop_uid, transfer_syntax, instance, size, mtime_ns"
            " FROM files WHERE series_uid = ? AND left_out IS NULL"
        )
        parameters = [series_uid]
        if sop_uid is not None:
            query, parameters = query + " AND sop_uid = ?", [series_uid, sop_uid]
        rows = sorted(self._connection.execute(query, parameters), key=lambda row: (self._rank(row[0]), row[0]))
        return [
            IndexedFile(Path(path), study, series, patient, sop, syntax, json.loads(instance), f"{size}-{mtime}")
            for path, study, series, patient, sop, syntax, instance, size, mtime in rows
        ]

    @reports_damage
    def has_instance(self, sop_uid: str) -> bool:
        """Return whether any series has an instance with this SOPInstanceUID."""
        query = "SELECT 1 FROM files WHERE sop_uid = ? LIMIT 1"
        return self._connection.execute(query, [sop_uid]).fetchone() is not None

    @reports_damage
    def left_out(self) -> dict[str, list[tuple[Path, str]]]:
        """Return the files that are left out of each series, by SeriesInstanceUID, with the reason."""
        found: dict[str, list[tuple[Path, str]]] = {}
        for series_uid, path, reason in self._connection.execute(
            "SELECT series_uid, path, left_out FROM files INDEXED BY files_left_out WHERE left_out IS NOT NULL"
        ):
            found.setdefault(series_uid, []).append((Path(path), reason))
        return {series_uid: sorted(files) for series_uid, files in found.items()}

    @reports_damage
    def images(self) -> list[ImageFile]:
        """Return the NIfTI, NRRD and MetaImage files; of duplicates with the same content only the first."""
        rows = self._connection.execute("SELECT path, description FROM images ORDER BY path DESC")
        return list({image.uid: image for image in (ImageFile.from_json(*row) for row in rows)}.values())[::-1]

    @reports_damage
    def paths(self) -> set[Path]:
        """Return the path of every file in the index, usable or not."""
        return {Path(path) for (path,) in self._connection.execute("SELECT path FROM files")}

    @reports_damage
    def problems(self) -> list[tuple[Path, str]]:
        """Return each file and folder that cannot be used, and each file left out of its series, with the reason."""
        rows = self._connection.execute(
            "SELECT path, problem FROM files INDEXED BY files_with_problem WHERE problem IS NOT NULL"
            " UNION ALL SELECT path, left_out FROM files INDEXED BY files_left_out WHERE left_out IS NOT NULL"
        )
        unreachable = ((path, f"{UNREADABLE} ({_kind(path)}): {reason}") for path, reason in self._unreachable)
        return sorted((Path(path), problem) for path, problem in (*rows, *unreachable))

    def _note_unreachable(self, unreachable: list[tuple[Path, str]]) -> None:
        if unreachable != self._unreachable:
            for path, reason in unreachable[:_MAX_LOGGED]:
                logger.warning("%s cannot be reached (%s); its index is kept", path, reason)
        self._unreachable = unreachable

    def _add(self, files: list[tuple[str, int, int]], found: FolderWalk) -> set[str]:
        """Read files, given as (path, size, mtime), into the index, and return the series to judge.

        The entry of a file that disk or network cannot read is kept; the next scan reads the file again.
        """
        rows = []
        for file in files:
            try:
                rows.append(self._row(*file))
            except OSError as error:
                found.unreachable[file[0]] = error.strerror or str(error)
        return self._writer.store(rows)

    def _judge(self, series_uids: set[str]) -> None:
        for uid in sorted(series_uids):
            if self._writer.judge(uid):
                self.note_changed_series({uid})

    def _row(self, path: str, size: int, mtime_ns: int) -> IndexRow:
        try:
            return self._read(path, size, mtime_ns)
        except NotUsableError as error:
            reason = str(error)
        except OSError as error:
            if error.errno is not None:  # of the system; pydicom raises OSErrors without errno on damaged files
                raise
            reason = str(damaged_file_error(error))
        except Exception as error:  # pydicom raises many types; one file must not stop the scan
            reason = str(damaged_file_error(error))
        return IndexRow((path, size, mtime_ns, reason, *_NO_INSTANCE))

    def _read(self, path: str, size: int, mtime_ns: int) -> IndexRow:
        """Read a file and return its row of ``files`` and, if it can be used, of ``series`` or ``images``."""
        if is_part_of_image_file(Path(path)):
            return IndexRow((path, size, mtime_ns, None, *_NO_INSTANCE))
        if is_image_file(Path(path)):
            return IndexRow((path, size, mtime_ns, None, *_NO_INSTANCE), image=read_image_file(Path(path)).to_json())
        dataset, transfer_syntax = read_index_header(Path(path))
        complete_uids(dataset, self._relative(Path(path)))
        study, series, sop = (
            str(dataset[keyword].value) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        )
        key = SeriesKey(study, series, text_of(dataset, "PatientID").strip())
        instance = json_of(dataset, attributes.INSTANCE)
        described = json.loads(instance)
        kind = ImageKind.of(text_of(dataset, "Modality"), described).to_json()
        text = first_value(described, "NumberOfFrames")
        frames = int(text) if text.isdecimal() else 1
        position = position_key(described)
        return IndexRow(
            (path, size, mtime_ns, None, *key, sop, transfer_syntax, instance, position, kind, frames, None),
            key,
            series_header(dataset),
            self._rank(path),
        )

    def _rank(self, path: str) -> int:
        """Return the position, among the roots, of the folder that contains a file."""
        return next((rank for rank, prefix in enumerate(self._prefixes) if path.startswith(prefix)), len(self.roots))

    def _relative(self, path: Path) -> Path:
        return next((path.relative_to(root) for root in self.roots if path.is_relative_to(root)), path)


def _kind(path: Path) -> str:
    return "folder" if path.is_dir() else "file"
