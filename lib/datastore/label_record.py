"""The record of a submission: what is kept beside a label's voxels, and whether it is as it was written."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from lib.storage.integrity import Damage, DamagedFileError

_SHA256 = re.compile(r"[0-9a-f]{64}|")
_CHECKSUM = "record_sha256"
_TYPES = {"image_id": str, "number": int, "tag": str, "time": (int, float), "info": dict, "dicom_seg": dict}


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

    def to_json(self) -> dict[str, Any]:
        """What is written: the record with a checksum of itself."""
        content = json.loads(json.dumps(asdict(self), default=str))
        return {**content, _CHECKSUM: _checksum(content)}


def read_record(path: Path) -> LabelRecord:
    """Read a record; its folder is named after the image, the file after its number.

    A record that was written before records had a checksum is taken as it is.

    Raises:
        FileNotFoundError: There is none.
        DamagedFileError: It is not what was written.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        checksum = content.pop(_CHECKSUM, None)
        if checksum not in (None, _checksum(content)):
            raise ValueError("its content was changed")
        record = LabelRecord(**content)
        _check(record, path)
    except FileNotFoundError:
        raise
    except (ValueError, TypeError, AttributeError, RecursionError, OSError) as error:
        problem = (
            f"The record {path} of a label is damaged ({_short(error)}). Labels of this image that are older than it "
            "are not used until one is restored (`python main.py labels`) or a new one is submitted; the file stays."
        )
        raise DamagedFileError(Damage("label record", path, problem)) from error
    return record


def _check(record: LabelRecord, path: Path) -> None:
    for name, kind in _TYPES.items():
        if not isinstance(getattr(record, name), kind):
            raise TypeError(f"{name} is {type(getattr(record, name)).__name__}")
    if (record.image_id, str(record.number)) != (path.parent.name, path.stem):
        raise ValueError(f"it is that of label {record.number} of {record.image_id}")
    if not isinstance(record.sha256, str) or not _SHA256.fullmatch(record.sha256):
        raise ValueError("it has no checksum of the label")


def _checksum(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _short(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error).splitlines()[0][:120]


def read_voxels(content: bytes) -> np.ndarray:
    """Return the voxels (slice, row, column), uint8, of a stored label, given the content of its file.

    Of the very bytes whose checksum was compared: SimpleITK reads files only, and fills one that was cut off with
    zeros without a word.
    """
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
    return np.ascontiguousarray(np.asarray(image.dataobj).transpose(), dtype=np.uint8)
