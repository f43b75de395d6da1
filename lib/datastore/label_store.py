"""Every label ever submitted, kept as history on disk: nothing is overwritten, nothing is half written."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from lib.atomic import write_atomically, write_json
from lib.errors import UserError

logger = logging.getLogger(__name__)

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
IMAGE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LABEL_SUFFIX = ".nii.gz"


@dataclass(frozen=True)
class LabelRecord:
    """One submission.

    Attributes:
        image_id: SeriesInstanceUID of its image.
        number: 1 for the first submission of this image, counting up.
        tag: MONAI Label's tag: ``final`` for a person's label, ``original`` for a model's.
        time: Seconds since 1970.
        sha256: Checksum of the label file; empty where the record says that the label was withdrawn.
        info: What came with it (viewer, client id, parameters), and what was found (grid, voxel count).
        dicom_seg: Of the DICOM SEG stored of it the ``sop_instance_uid``, or the ``error`` why there is none yet.
    """

    image_id: str
    number: int
    tag: str
    time: float
    sha256: str
    info: dict[str, Any] = field(default_factory=dict)
    dicom_seg: dict[str, str] = field(default_factory=dict)


class LabelStore:
    """Labels as files ``<image id>/<n>.nii.gz`` with their record ``<n>.json``.

    The record is written last: a label without one was never accepted. Safe for several processes.

    Args:
        folder: Where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".lock")
        self._read: dict[str, tuple[int, list[LabelRecord]]] = {}

    def save(self, image_id: str, tag: str, write: Callable[[Path], Any], info: dict[str, Any]) -> LabelRecord:
        """Keep a new submission.

        Args:
            image_id: SeriesInstanceUID.
            tag: Letters, digits, ``-`` and ``_``.
            write: Writes the label into the path it is given.
            info: Kept with it.

        Raises:
            UserError: The image id or tag is no plain name.
        """
        if not _TAG.fullmatch(tag):
            raise UserError(f"A tag is made of letters, digits, - and _, not {tag!r}.")
        with self._lock:
            number = self._next_number(image_id)
            path = self._label_path(image_id, number)
            write_atomically(path, write)
            record = LabelRecord(image_id, number, tag, time.time(), _sha256(path), info)
            self._write_record(record)
        return record

    def withdraw(self, image_id: str, tag: str) -> None:
        """Take a label out of use. Its file and history stay.

        Raises:
            UserError: There is no such label.
        """
        with self._lock:
            self.latest(image_id, tag)
            self._write_record(LabelRecord(image_id, self._next_number(image_id), tag, time.time(), ""))

    def update_info(self, image_id: str, tag: str, info: dict[str, Any]) -> None:
        """Add to the info of the latest label of a tag.

        Raises:
            UserError: There is no such label.
        """
        with self._lock:
            record = self.latest(image_id, tag)
            self._write_record(replace(record, info={**record.info, **info}))

    def note_dicom_seg(self, record: LabelRecord, dicom_seg: dict[str, str]) -> None:
        """Note what became of the DICOM SEG of a submission, be it the latest or not."""
        with self._lock:
            now = next(one for one in self.history(record.image_id) if one.number == record.number)
            self._write_record(replace(now, dicom_seg=dicom_seg))

    def history(self, image_id: str) -> list[LabelRecord]:
        """All submissions of an image, oldest first."""
        folder = self._image_folder(image_id)
        try:
            changed = folder.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        if self._read.get(image_id, (0, []))[0] != changed:
            records = [_read_record(path) for path in folder.glob("[0-9]*.json")]
            found = sorted((record for record in records if record), key=lambda record: record.number)
            self._read[image_id] = (changed, found)
        return self._read[image_id][1]

    def current(self, image_id: str) -> dict[str, LabelRecord]:
        """The latest label of each tag that is in use."""
        latest = {record.tag: record for record in self.history(image_id)}
        return {tag: record for tag, record in latest.items() if record.sha256}

    def latest(self, image_id: str, tag: str) -> LabelRecord:
        """The latest label of a tag.

        Raises:
            UserError: There is none.
        """
        record = self.current(image_id).get(tag)
        if record is None:
            raise UserError(f"There is no label {tag!r} of image {image_id}.", status=404)
        return record

    def path(self, record: LabelRecord) -> Path:
        """The label file of a submission."""
        return self._label_path(record.image_id, record.number)

    def labelled_images(self) -> list[str]:
        """Ids of all images that have a label in use."""
        names = (folder.name for folder in self._folder.iterdir() if folder.is_dir())
        return sorted(name for name in names if self.current(name))

    def _write_record(self, record: LabelRecord) -> None:
        write_json(self._image_folder(record.image_id) / f"{record.number}.json", asdict(record))
        self._read.pop(record.image_id, None)

    def _next_number(self, image_id: str) -> int:
        """One more than any number in use, be its record whole or not."""
        names = (path.name.partition(".")[0] for path in self._image_folder(image_id).glob("[0-9]*"))
        return max((int(name) for name in names if name.isdigit()), default=0) + 1

    def _image_folder(self, image_id: str) -> Path:
        if not IMAGE_ID.fullmatch(image_id):
            raise UserError(f"{image_id!r} is no image id: it must be a SeriesInstanceUID.")
        return self._folder / image_id

    def _label_path(self, image_id: str, number: int) -> Path:
        return self._image_folder(image_id) / f"{number}{_LABEL_SUFFIX}"


def _read_record(path: Path) -> LabelRecord | None:
    try:
        return LabelRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        logger.error("Label record %s is damaged and is left out: %s", path, error)
        return None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
