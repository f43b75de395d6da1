"""Append-only history of all submitted labels on disk; files are written atomically and never overwritten."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from filelock import FileLock

from lib.datastore.label_record import LabelRecord, read_record
from lib.errors import UserError
from lib.storage.atomic import make_folder, write_atomically, write_json
from lib.storage.integrity import Damage, DamagedFileError, sha256_of
from lib.storage.watched_files import CHANGED, WatchedFiles, unreadable

__all__ = ["IMAGE_ID", "LabelRecord", "LabelStore"]

logger = logging.getLogger(__name__)

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
IMAGE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_UID = re.compile(r"[0-9.]+")
LABEL_SUFFIX = ".nii.gz"
_SETTLED_NS = 200_000_000  # mtime has coarse ticks: a folder changed just now may change again with the same mtime


@dataclass(frozen=True)
class FolderEntries:
    """Content of an image's folder: its valid records, oldest first, and its damaged ones by number."""

    records: tuple[LabelRecord, ...] = ()
    damaged: dict[int, Damage] = field(default_factory=dict)


class LabelStore:
    """Labels in files ``<image id>/<n>.nii.gz``, each with a record ``<n>.json``.

    The record is written last: a label without one was never accepted. It holds the checksum of the label, which is
    verified at every read. A damaged label is reported and not used, and no older label takes its place until a person
    restores it. Safe for several processes and threads.

    Args:
        folder: Folder of the labels; created if missing.

    Raises:
        OSError: The folder cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder)
        self._lock = FileLock(folder / ".lock", mode=0o600)
        self._files = WatchedFiles()
        self._cache_lock = threading.Lock()  # protects the two below
        self._cache: dict[str, tuple[int, FolderEntries]] = {}  # by image id, with the folder's mtime
        self._writes = 0
        self._reported: set[Path] = set()

    @property
    def folder(self) -> Path:
        """Folder of the labels."""
        return self._folder

    @property
    def files(self) -> WatchedFiles:
        """Checksums of the files that were read."""
        return self._files

    def save(
        self,
        image_id: str,
        tag: str,
        write: Callable[[Path], Any],
        info: dict[str, Any],
        check: Callable[[], object] = lambda: None,
    ) -> LabelRecord:
        """Store a new submission.

        Args:
            image_id: SeriesInstanceUID.
            tag: Letters, digits, ``-`` and ``_``.
            write: Writes the label to the path that it is called with.
            info: Stored in the record.
            check: Called before; while it runs, nobody else stores a label. It raises an error to prevent this one.

        Raises:
            UserError: The image id or tag has invalid characters.
            DamagedFileError: A file is in the place of the image's folder.
        """
        if not _TAG.fullmatch(tag):
            raise UserError(f"A tag consists of letters, digits, - and _, not {tag!r}.")
        if damage := self._blocking_file(self._image_folder(image_id)):
            raise DamagedFileError(damage)
        with self._lock:
            check()
            number = self._next_number(image_id)
            path = self._label_path(image_id, number)
            write_atomically(path, write)
            record = LabelRecord(image_id, number, tag, time.time(), sha256_of(path), info)
            self._write_record(record)
        return record

    def withdraw(self, image_id: str, tag: str) -> None:
        """Take a label out of use, whether damaged or not; its files stay in the history.

        Raises:
            UserError: There is no such label.
        """
        with self._lock:
            self._latest_in_use(image_id, tag)
            self._write_record(LabelRecord(image_id, self._next_number(image_id), tag, time.time(), ""))

    def update_info(
        self,
        image_id: str,
        tag: str,
        change: Callable[[dict[str, Any]], dict[str, Any]],
        *,
        number: int | None = None,
    ) -> None:
        """Add the result of ``change`` to the info of the latest label of a tag.

        Args:
            image_id: SeriesInstanceUID.
            tag: Tag of the label.
            change: Returns what is added, given the info.
            number: Number that the label must have; None for any.

        Raises:
            UserError: There is no such label, or the latest one has another number (409).
        """
        with self._lock:
            record = self._latest_in_use(image_id, tag)
            if number not in (None, record.number):
                raise UserError(
                    f"Label {number} is no longer the latest one: label {record.number} is. Look at it first.",
                    HTTPStatus.CONFLICT,
                )
            self._write_record(replace(record, info={**record.info, **change(record.info)}))

    def note_dicom_seg(self, record: LabelRecord, dicom_seg: dict[str, str]) -> None:
        """Set the DICOM SEG status of a submission, whether it is the latest or not."""
        with self._lock:
            now = next((one for one in self.history(record.image_id) if one.number == record.number), None)
            if now is not None:  # else its record was damaged in the meantime; a damaged one is never overwritten
                self._write_record(replace(now, dicom_seg=dicom_seg))

    def history(self, image_id: str) -> list[LabelRecord]:
        """Return all submissions of an image with a valid record, oldest first."""
        return [*self._entries(image_id).records]

    def in_use(self, image_id: str) -> dict[str, LabelRecord]:
        """Return the latest label of each tag unless it was withdrawn, whether damaged or not."""
        latest = {record.tag: record for record in self._entries(image_id).records}
        return {tag: record for tag, record in latest.items() if record.sha256}

    def current(self, image_id: str) -> dict[str, LabelRecord]:
        """Return the label in use of each tag, without damaged ones."""
        return {tag: record for tag, record in self.in_use(image_id).items() if not self.damage_of(record)}

    def latest(self, image_id: str, tag: str) -> LabelRecord:
        """Return the latest label of a tag.

        Raises:
            UserError: There is no label of this tag.
            DamagedFileError: The label or a later record is damaged.
        """
        record = self._latest_in_use(image_id, tag)
        if damage := self.damage_of(record):
            raise DamagedFileError(damage)
        return record

    def path(self, record: LabelRecord) -> Path:
        """Return the path of the label file of a submission after verifying its checksum.

        Raises:
            DamagedFileError: The file does not match its checksum.
        """
        self.content(record)
        return self._label_path(record.image_id, record.number)

    def content(self, record: LabelRecord) -> bytes:
        """Return the content of the label file of a submission; the checksum of these bytes is verified.

        Raises:
            DamagedFileError: The file does not match its checksum.
        """
        path = self._label_path(record.image_id, record.number)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DamagedFileError(self._damage(record, unreadable(error))) from error
        if hashlib.sha256(content).hexdigest() != record.sha256:
            self._files.forget(path)
            raise DamagedFileError(self._damage(record, CHANGED))
        return content

    def file_name(self, record: LabelRecord) -> str:
        """Return the name of the label file of a submission."""
        return self._label_path(record.image_id, record.number).name

    def damage_of(self, record: LabelRecord) -> Damage | None:
        """Return why a label cannot be used, or None. Its file is read again only after it changed."""
        newer = [number for number in self._entries(record.image_id).damaged if number > record.number]
        return self._entries(record.image_id).damaged.get(max(newer)) if newer else self.damage_of_file(record)

    def damage(self, image_id: str | None = None, *, former: bool = True) -> list[Damage]:
        """Return the damage of labels and records.

        Args:
            image_id: Only of this image; None for all.
            former: Include labels that newer ones have replaced.
        """
        ids = [image_id] if image_id else self.images()
        return [damage for one in ids for damage in self._damage_of_image(one, former)]

    def images(self) -> list[str]:
        """Return the ids of all images that ever had a label, sorted."""
        found = (path.name for path in self._folder.iterdir() if IMAGE_ID.fullmatch(path.name))
        return sorted(found)

    def labelled_images(self) -> list[str]:
        """Return the ids of all images with an undamaged label in use."""
        return [image_id for image_id in self.images() if self.current(image_id)]

    def _latest_in_use(self, image_id: str, tag: str) -> LabelRecord:
        """Return the latest label of a tag, whether damaged or not."""
        record = self.in_use(image_id).get(tag)
        if record is not None:
            return record
        if damaged := self._entries(image_id).damaged:
            raise DamagedFileError(damaged[max(damaged)])
        raise UserError(f"There is no label {tag!r} of image {image_id}.", HTTPStatus.NOT_FOUND)

    def _damage_of_image(self, image_id: str, former: bool) -> Iterator[Damage]:
        if damage := self._blocking_file(self._image_folder(image_id)):
            yield damage
            return
        entries, in_use = self._entries(image_id), self.in_use(image_id)
        newest = max((record.number for record in entries.records), default=0)
        yield from (damage for number, damage in sorted(entries.damaged.items()) if former or number > newest)
        for record in entries.records:
            wanted = record.sha256 and (former or in_use.get(record.tag) == record)
            if wanted and (damage := self.damage_of_file(record)):
                yield damage

    def damage_of_file(self, record: LabelRecord) -> Damage | None:
        """Return the damage of the label file of a submission, or None."""
        problem = self._files.problem(self._label_path(record.image_id, record.number), record.sha256)
        return self._damage(record, problem) if problem else None

    def _damage(self, record: LabelRecord, what: str) -> Damage:
        path = self._label_path(record.image_id, record.number)
        return Damage(
            "label",
            path,
            f"Label {record.number} ({record.tag}) of image {record.image_id} is damaged: {what} ({path}). It is not "
            "used. Restore the file from a backup, restore an older label (`python main.py labels STUDIES --image "
            "UID --restore NUMBER`), or submit a new one.",
        )

    def _blocking_file(self, folder: Path) -> Damage | None:
        if not folder.exists() or folder.is_dir() or not _UID.fullmatch(folder.name):  # or a user's own file
            return None
        problem = f"There is a file in the place of the label folder of image {folder.name}: {folder}. Move it away."
        return Damage("label", folder, problem)

    def _entries(self, image_id: str) -> FolderEntries:
        folder = self._image_folder(image_id)
        with self._cache_lock:
            known, writes = self._cache.get(image_id), self._writes
        try:
            changed = folder.stat().st_mtime_ns
        except FileNotFoundError:
            return FolderEntries()
        if known and known[0] == changed and not known[1].damaged:  # a damaged file may be repaired in place
            return known[1]
        entries = _read_folder(folder)
        for damage in entries.damaged.values():
            if damage.path not in self._reported:
                self._reported.add(damage.path)
                logger.error("%s", damage.problem)
        with self._cache_lock:
            if self._writes == writes and time.time_ns() - changed > _SETTLED_NS:
                self._cache[image_id] = (changed, entries)
        return entries

    def _write_record(self, record: LabelRecord) -> None:
        write_json(self._image_folder(record.image_id) / f"{record.number}.json", record.to_json())
        with self._cache_lock:
            self._writes += 1
            self._cache.pop(record.image_id, None)

    def _next_number(self, image_id: str) -> int:
        """Return the next submission number; files without a valid record count too."""
        names = (path.name.partition(".")[0] for path in self._image_folder(image_id).glob("[0-9]*"))
        return max((int(name) for name in names if name.isdecimal()), default=0) + 1

    def _image_folder(self, image_id: str) -> Path:
        if not IMAGE_ID.fullmatch(image_id):
            raise UserError(f"{image_id!r} is not an image id: give a SeriesInstanceUID.")
        return self._folder / image_id

    def _label_path(self, image_id: str, number: int) -> Path:
        return self._image_folder(image_id) / f"{number}{LABEL_SUFFIX}"


def _read_folder(folder: Path) -> FolderEntries:
    """Read all records of an image."""
    records, damaged = [], {}
    for path in folder.glob("[0-9]*.json"):
        if not path.stem.isdecimal():  # a copy made by a user
            continue
        try:
            records.append(read_record(path))
        except FileNotFoundError:
            continue
        except DamagedFileError as error:
            damaged[int(path.stem)] = error.damage
    return FolderEntries(tuple(sorted(records, key=lambda record: record.number)), damaged)
