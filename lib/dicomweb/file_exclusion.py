"""Exclusion of readable files from their series: copies, duplicate UIDs, images of another kind.

This is part of the index, so that everything derived from a series uses the same slices: instances and metadata for
viewers, the volume, its label, the images that a DICOM SEG refers to.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from lib.dicomweb.dicom_file import NotUsableError
from lib.dicomweb.image_kind import ImageKind, outlier_kinds

_COPY = "a copy of another slice: same position and pixels under another SOP Instance UID"
_SAME = "a copy of another file: same SOP Instance UID and pixels"
_DISPLACED = "has the SOP Instance UID of an earlier file, which is used instead"
DUPLICATE_UID = (
    "has the SOP Instance UID of another file, but other pixels",
    "has the SOP Instance UID of another file, but another PatientID",
)
OTHER_KIND = "not of the same kind as the other images of its series: "


class SeriesKey(NamedTuple):
    """Key of a series of one patient; series of several patients with the same UID are distinguished."""

    study_uid: str
    series_uid: str
    patient_id: str


Digest = Callable[[str], str]  # path of a file -> digest of its image; see ImageDigests.of
_OF_SERIES = "study_uid = ? AND series_uid = ? AND patient_id = ?"


class FileExclusion:
    """Marks files in the index that are left out (column ``left_out`` of ``files``).

    Args:
        studies: The user's folder; its files take precedence over stored ones with the same UID.
        read_header: Returns the DICOM JSON of the study and series attributes of a file as text.
    """

    def __init__(self, studies: Path, read_header: Callable[[Path], str]) -> None:
        self._studies = studies
        self._read_header = read_header

    def mark_new_files(
        self, connection: sqlite3.Connection, instances: Iterable[tuple[SeriesKey, str]], digest: Digest
    ) -> None:
        """Mark duplicate UIDs and images of another kind among new files, before anything is derived from them.

        Args:
            connection: Connection in a transaction.
            instances: Series and SOP Instance UID of each new instance.
            digest: Returns the digest of the image in a file.
        """
        instances = set(instances)
        for key, sop_uid in instances:
            self._mark_duplicate_uids(connection, key, sop_uid, digest)
        for key in {key for key, _ in instances}:
            self._mark_outliers(connection, key)

    def mark_copies(self, connection: sqlite3.Connection, key: SeriesKey, changed: set[str], digest: Digest) -> None:
        """Leave out copies of slices: OHIF would show a copy under another SOP Instance UID as an additional slice.

        Args:
            connection: Connection in a transaction.
            key: The series.
            changed: Paths that are new, changed or to be checked again.
            digest: Returns the digest of the image in a file.
        """
        places: dict[str, dict[str, str]] = defaultdict(dict)
        rows = connection.execute(
            f"SELECT path, sop_uid, place FROM files WHERE {_OF_SERIES} AND left_out IS NULL AND place IS NOT NULL", key
        )
        for path, sop_uid, place in sorted(rows, key=lambda row: (not self._is_users(row[0]), row[0])):
            places[place][path] = sop_uid
        for files in places.values():
            if len(set(files.values())) == 1 or changed.isdisjoint(files):
                continue
            originals: set[str] = set()
            for path in files:
                if digest(path) in originals:
                    _leave_out(connection, path, _COPY)
                originals.add(digest(path))

    def mark_again(self, connection: sqlite3.Connection, series_uid: str, digest: Digest) -> None:
        """Determine the left-out files of a series again after files, perhaps an original, were deleted or changed."""
        found = connection.execute(
            "SELECT path, sop_uid, study_uid, series_uid, patient_id FROM files"
            " WHERE series_uid = ? AND left_out IS NOT NULL",
            [series_uid],
        ).fetchall()
        connection.executemany("UPDATE files SET left_out = NULL WHERE path = ?", [(row[0],) for row in found])
        instances = {(SeriesKey(*row[2:]), row[1]) for row in found}
        self.mark_new_files(connection, instances, digest)
        for key in {key for key, _ in instances}:
            self.mark_copies(connection, key, {row[0] for row in found}, digest)

    def _mark_duplicate_uids(
        self, connection: sqlite3.Connection, key: SeriesKey, sop_uid: str, digest: Digest
    ) -> None:
        """Keep one of several files with the same UID and content; none if their content differs."""
        files = connection.execute(
            "SELECT path, mtime_ns, patient_id FROM files INDEXED BY files_by_instance"  # not the index of the series
            " WHERE series_uid = ? AND sop_uid = ? AND study_uid = ? ORDER BY path",
            [key.series_uid, sop_uid, key.study_uid],
        ).fetchall()
        if len(files) < 2:
            return
        studies = [file for file in files if self._is_users(file[0])]
        candidates = studies or [min(files, key=lambda file: file[1])]  # of stored files only the earliest
        digests = {path: digest(path) for path, *_ in files}
        patients = {path: patient_id for path, _, patient_id in files}
        first = candidates[0][0]
        ambiguous = any((digests[path], patients[path]) != (digests[first], patients[first]) for path, *_ in candidates)
        several_patients = len({patients[path] for path, *_ in candidates}) > 1
        for path in patients:
            if ambiguous:
                _leave_out(connection, path, DUPLICATE_UID[several_patients or patients[path] != patients[first]])
            elif (digests[path], patients[path]) != (digests[first], patients[first]):
                _leave_out(connection, path, _DISPLACED)
            else:
                _leave_out(connection, path, None if path == first else _SAME)

    def _is_users(self, path: str) -> bool:
        return Path(path).is_relative_to(self._studies)

    def _mark_outliers(self, connection: sqlite3.Connection, key: SeriesKey) -> None:
        """Leave out images that are not slices of the scan that most of the series forms."""
        counts = {
            text: (count, frames)
            for text, count, frames in connection.execute(
                f"SELECT kind, COUNT(*), SUM(frames) FROM files WHERE {_OF_SERIES} GROUP BY kind", key
            )
        }
        if len(counts) < 2:
            return
        kinds = {text: ImageKind.from_json(text) for text in counts}
        outliers = outlier_kinds({kinds[text]: frames for text, (_, frames) in counts.items()})
        for text, kind in kinds.items():
            if kind in outliers:
                connection.execute(
                    f"UPDATE files SET left_out = ? WHERE {_OF_SERIES} AND kind = ? AND left_out IS NULL",
                    [OTHER_KIND + outliers[kind], *key, text],
                )
            else:
                connection.execute(
                    f"UPDATE files SET left_out = NULL WHERE {_OF_SERIES} AND kind = ? AND left_out LIKE ?",
                    [*key, text, f"{OTHER_KIND}%"],
                )
        if outliers:  # the header of the series may be that of a dose report
            (path,) = connection.execute(
                f"SELECT path FROM files WHERE {_OF_SERIES} AND kind = ? LIMIT 1",
                [*key, next(text for text, kind in kinds.items() if kind not in outliers)],
            ).fetchone()
            with contextlib.suppress(NotUsableError, OSError):  # deleted in the meantime: left to the next scan
                header = self._read_header(Path(path))
                connection.execute(f"UPDATE series SET header = ? WHERE {_OF_SERIES}", [header, *key])


def _leave_out(connection: sqlite3.Connection, path: str, reason: str | None) -> None:
    connection.execute("UPDATE files SET left_out = ? WHERE path = ?", [reason, path])
