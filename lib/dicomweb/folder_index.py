"""An index of the DICOM files below some folders, in SQLite, kept up to date while the folders change."""

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
from lib.dicomweb.dicom_file import NotUsableError, damaged, read_index_header, text_of
from lib.dicomweb.folder_walk import FolderWalk, walk
from lib.dicomweb.image_file import ImageFile, is_image_file, is_part_of_image_file, read_image_file
from lib.dicomweb.image_kind import ImageKind
from lib.dicomweb.index_database import IndexDatabase, mending_damage, telling_damage
from lib.dicomweb.index_header import complete_uids, json_of, place_of, series_header
from lib.dicomweb.index_writer import SCHEMA, SCHEMA_VERSION, IndexRow, IndexWriter
from lib.dicomweb.matching import first_value
from lib.dicomweb.set_aside import SeriesKey, SetAside

logger = logging.getLogger(__name__)

_BATCH = 200
_NOTHING = (None,) * 10  # in the columns that only a DICOM instance fills
UNREADABLE = "cannot be read"  # begins the reason for a file or folder that the system does not let us read
_FILES_OF_SERIES = (
    "FROM files f WHERE f.series_uid = s.series_uid AND f.study_uid = s.study_uid AND f.patient_id = s.patient_id"
)
_LOGGED = 5  # unreachable folders and files, of many


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
class FolderChanges:
    """Changes that one scan of the folders found.

    Attributes:
        added: Files that are new or have changed.
        removed: Files that are gone.
    """

    added: int
    removed: int


class FolderIndex:
    """Which DICOM instance lies in which file.

    Each file is read once, and again only when its size or time changes; it is forgotten when it is deleted, not when
    it cannot be reached. A file that cannot be used is kept with the reason; so is one that is left out of its series
    (:mod:`lib.dicomweb.set_aside`). NIfTI, NRRD and MetaImage files are taken as well, as images of their own. Nothing
    is ever written into the folders. Safe to use from several threads.

    Args:
        database: The SQLite file; may be deleted at any time while no server runs, and is rebuilt if damaged.
        roots: The folders, any depth, any file names. Where two have the same instance, the first counts.
    """

    def __init__(self, database: Path, roots: Sequence[Path]) -> None:
        self.roots = [Path(root).resolve() for root in roots]
        self._prefixes = [os.path.join(root, "") for root in self.roots]  # noqa: PTH118 - of path names, with a slash
        self._database = IndexDatabase(database, SCHEMA, SCHEMA_VERSION)
        self._scan_lock = threading.Lock()
        set_aside = SetAside(self.roots[0], lambda path: series_header(read_index_header(path)[0]))
        self._writer = IndexWriter(self._database, set_aside)
        self._unreachable: list[tuple[Path, str]] = []
        self._changed_lock = threading.Lock()
        self._changed_series: set[str] = set()

    @property
    def _connection(self) -> sqlite3.Connection:
        """That of this thread."""
        return self._database.connection

    @mending_damage
    def scan(self, progress: Callable[[int, int], None] | None = None) -> FolderChanges:
        """Look at the folders and take in what changed. Answers go on meanwhile.

        Args:
            progress: Called with (files read, files to read) after each batch.
        """
        with self._scan_lock:
            known = {
                path: (size, mtime)
                for path, size, mtime in self._connection.execute("SELECT path, size, mtime_ns FROM files")
            }
            found = walk(self.roots, held_files=any(self._rank(path) == 0 for path in known))
            present = found.files
            gone = [path for path in known if path not in present and not found.is_away(path)]
            changed = [path for path, state in present.items() if known.get(path) != state]
            for start in range(0, len(changed), _BATCH):
                batch = changed[start : start + _BATCH]
                self._take_in([(path, *present[path]) for path in batch], found)
                if progress:
                    progress(start + len(batch), len(changed))
            self._writer.forget(gone)
            self._judge(self._writer.unjudged())
            self._note_unreachable([(Path(path), reason) for path, reason in sorted(found.unreachable.items())])
            return FolderChanges(added=len(changed), removed=len(gone))

    def take_changed_series(self) -> set[str]:
        """Return the SeriesInstanceUIDs of which files changed, other than by new ones, since this was last asked."""
        with self._changed_lock:
            changed, self._changed_series = self._changed_series, set()
        return changed

    def note_changed_series(self, series_uids: set[str]) -> None:
        """Have SeriesInstanceUIDs in the next answer of :meth:`take_changed_series`."""
        with self._changed_lock:
            self._changed_series |= series_uids

    def unreachable(self) -> list[tuple[Path, str]]:
        """Return each folder and file that the last scan could not look at or read, with the reason.

        What was known of them is kept.
        """
        return self._unreachable

    @telling_damage
    def add(self, paths: Sequence[Path]) -> None:
        """Take in these files and look at no others; they lie below the folders. Waits for no scan."""
        files = []
        for path in paths:
            status = path.stat()
            files.append((str(path), status.st_size, status.st_mtime_ns))
        self._judge(self._take_in(files, FolderWalk()))

    @telling_damage
    def forget(self, paths: Sequence[Path]) -> None:
        """Forget files of the workspace that were moved away; waits for no scan."""
        self._judge(self._writer.forget([str(path) for path in paths]))

    @telling_damage
    def series(
        self, study_uid: str | None = None, series_uid: str | None = None
    ) -> list[tuple[dict[str, dict[str, Any]], int]]:
        """Every series, or those asked for: DICOM JSON of study and series attributes, and number of instances.

        Images of several patients that share a Series Instance UID are as many series here. Of one study, those of the
        first folder come first: what they say of the patient counts.
        """
        wanted = {"s.study_uid": study_uid, "s.series_uid": series_uid}
        wanted = {column: uid for column, uid in wanted.items() if uid is not None}
        # Counted in the index files_by_series alone; the rows of the files are many times as long.
        rows = self._connection.execute(
            f"SELECT s.header, (SELECT COUNT(DISTINCT f.sop_uid) {_FILES_OF_SERIES} AND f.left_out IS NULL)"
            f" FROM series s WHERE EXISTS (SELECT 1 {_FILES_OF_SERIES})"
            f"{''.join(f' AND {column} = ?' for column in wanted)}"
            " ORDER BY s.study_uid, s.rank, s.series_uid, s.patient_id",
            list(wanted.values()),
        )
        return [(json.loads(header), count) for header, count in rows]

    @telling_damage
    def instances(self, series_uid: str, sop_uid: str | None = None) -> list[IndexedFile]:
        """The instances of a series, or the one asked for, without those that are left out of it."""
        query = (
            "SELECT path, study_uid, series_uid, patient_id, sop_uid, transfer_syntax, instance, size, mtime_ns"
            " FROM files WHERE series_uid = ? AND left_out IS NULL"
        )
        parameters = [series_uid]
        if sop_uid is not None:
            query, parameters = query + " AND sop_uid = ?", [series_uid, sop_uid]
        rows = sorted(self._connection.execute(query, parameters), key=lambda row: (self._rank(row[0]), row[0]))
        return [
            IndexedFile(Path(path), *names, json.loads(instance), f"{size}-{mtime}")
            for path, *names, instance, size, mtime in rows
        ]

    @telling_damage
    def has_instance(self, sop_uid: str) -> bool:
        """Whether there is an instance with this SOPInstanceUID, in any series."""
        query = "SELECT 1 FROM files WHERE sop_uid = ? LIMIT 1"
        return self._connection.execute(query, [sop_uid]).fetchone() is not None

    @telling_damage
    def left_out(self) -> dict[str, list[tuple[Path, str]]]:
        """The files that are left out of each series, by SeriesInstanceUID, with the reason."""
        found: dict[str, list[tuple[Path, str]]] = {}
        for series_uid, path, reason in self._connection.execute(
            "SELECT series_uid, path, left_out FROM files INDEXED BY files_left_out WHERE left_out IS NOT NULL"
        ):
            found.setdefault(series_uid, []).append((Path(path), reason))
        return {series_uid: sorted(files) for series_uid, files in found.items()}

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
        """Every file and folder that cannot be used, and every file that is left out of its series, with the reason."""
        rows = self._connection.execute(
            "SELECT path, problem FROM files INDEXED BY files_with_problem WHERE problem IS NOT NULL"
            " UNION ALL SELECT path, left_out FROM files INDEXED BY files_left_out WHERE left_out IS NOT NULL"
        )
        away = ((path, f"{UNREADABLE} ({_kind(path)}): {reason}") for path, reason in self._unreachable)
        return sorted((Path(path), problem) for path, problem in (*rows, *away))

    def _note_unreachable(self, unreachable: list[tuple[Path, str]]) -> None:
        if unreachable != self._unreachable:
            for path, reason in unreachable[:_LOGGED]:
                logger.warning("%s cannot be reached (%s); what is known of it is kept", path, reason)
        self._unreachable = unreachable

    def _take_in(self, files: list[tuple[str, int, int]], found: FolderWalk) -> set[str]:
        """Read files, (path, size, mtime) of each, and keep what they say; returns the series that are to be judged.

        Of one that the disk or network does not hand out, what was known is kept; it is read again by the next scan.
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
            if error.errno is not None:  # the system's; pydicom raises some of its own on damaged files
                raise
            reason = str(damaged(error))
        except Exception as error:  # pydicom raises many kinds; no file may end the scan of the others
            reason = str(damaged(error))
        return IndexRow((path, size, mtime_ns, reason, *_NOTHING))

    def _read(self, path: str, size: int, mtime_ns: int) -> IndexRow:
        """Read a file into its row of ``files`` and, if it can be used, of ``series`` or ``images``."""
        if is_part_of_image_file(Path(path)):
            return IndexRow((path, size, mtime_ns, None, *_NOTHING))
        if is_image_file(Path(path)):
            return IndexRow((path, size, mtime_ns, None, *_NOTHING), image=read_image_file(Path(path)).to_json())
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
        return IndexRow(
            (path, size, mtime_ns, None, *key, sop, transfer_syntax, instance, place_of(described), kind, frames, None),
            key,
            series_header(dataset),
            self._rank(path),
        )

    def _rank(self, path: str) -> int:
        """The place of the folder that a file lies in, among the roots."""
        return next((rank for rank, prefix in enumerate(self._prefixes) if path.startswith(prefix)), len(self.roots))

    def _relative(self, path: Path) -> Path:
        return next((path.relative_to(root) for root in self.roots if path.is_relative_to(root)), path)


def _kind(path: Path) -> str:
    return "folder" if path.is_dir() else "file"
