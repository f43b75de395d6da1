"""Record of a label submission, stored next to its voxels and protected by a checksum."""

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

INITIAL = "initial"  # tag of a label made from an object of another program, which nobody has reviewed yet
_SHA256 = re.compile(r"[0-9a-f]{64}|")
_CHECKSUM = "record_sha256"
_TYPES: dict[str, type | tuple[type, ...]] = {
    "image_id": str,
    "number": int,
    "tag": str,
    "time": (int, float),
    "info": dict,
    "dicom_seg": dict,
}


@dataclass(frozen=True)
class LabelRecord:
    """One submission of a label.

    Attributes:
        image_id: SeriesInstanceUID of its image.
        number: Number of the submission of this image, from 1.
        tag: MONAI Label's tag: ``final`` for a person's label, ``original`` for a model's.
        time: Seconds since 1970.
        sha256: Checksum of the label file; empty if the record withdraws the label.
        info: Data sent by the client (viewer, client id, parameters) and determined here (grid, voxel count).
        dicom_seg: ``sop_instance_uid`` of its stored DICOM SEG, or the ``error`` that prevented storing it so far.
    """

    image_id: str
    number: int
    tag: str
    time: float
    sha256: str
    info: dict[str, Any] = field(default_factory=dict)
    dicom_seg: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the record with its own checksum, as it is written."""
        content = json.loads(json.dumps(asdict(self), default=str))
        return {**content, _CHECKSUM: _checksum(content)}


def read_record(path: Path) -> LabelRecord:
    """Read a record from ``<image id>/<number>.json``.

    A record from before records had a checksum is accepted without one.

    Raises:
        FileNotFoundError: The file does not exist.
        DamagedFileError: The file does not match its checksum.
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
            f"The label record {path} is damaged ({_short(error)}). Older labels of this image are not used until one "
            "is restored (`python main.py labels`) or a new one is submitted. The file is kept."
        )
        raise DamagedFileError(Damage("label record", path, problem)) from error
    return record


def _check(record: LabelRecord, path: Path) -> None:
    for name, kind in _TYPES.items():
        if not isinstance(getattr(record, name), kind):
            raise TypeError(f"{name} is {type(getattr(record, name)).__name__}")
    if (record.image_id, str(record.number)) != (path.parent.name, path.stem):
        raise ValueError(f"it belongs to label {record.number} of {record.image_id}")
    if not isinstance(record.sha256, str) or not _SHA256.fullmatch(record.sha256):
        raise ValueError("it has no checksum of the label")


def _checksum(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _short(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error).splitlines()[0][:120]


def read_voxels(content: bytes) -> np.ndarray:
    """Return the voxels (slice, row, column), uint8, of a stored label from the content of its file.

    Decodes the same bytes whose checksum was verified. SimpleITK can only read files, and silently fills a truncated
    one with zeros.
    """
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
    return np.ascontiguousarray(np.asarray(image.dataobj).transpose(), dtype=np.uint8)
