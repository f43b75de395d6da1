"""What the viewer sends with a label about each of its findings, those that were rejected included.

As JSON it is a list of ``{"voxel": [column, row, slice], "state": "accepted", "confidence": 0.93, "texture": "solid",
"note": ""}``: a voxel in the finding; ``proposed`` or ``accepted`` for one that the model marked, ``added`` for one
that it did not mark, and ``rejected`` for one that it marked and that is not in the label; the confidence of the model
that it is a lesion, null if it was not judged; ``solid``, ``part_solid`` or ``ground_glass``, empty or missing if
nobody has said so; a free note; and, optionally, ``active_seconds`` that the reader worked on it. A training of the
second stage learns from what was rejected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.datastore.label_clicks import is_voxel

TEXTURES = ("solid", "part_solid", "ground_glass")
REJECTED = "rejected"
_STATES = ("proposed", "accepted", "added", REJECTED)
_FIELDS = {"voxel", "state", "confidence", "note"}
_OPTIONAL_FIELDS = {"texture", "active_seconds"}
_MOST_LESIONS = 500
_LONGEST_NOTE = 1000
_LONGEST_SECONDS = 10**6


@dataclass(frozen=True)
class Remark:
    """What a reader said about a finding; see above."""

    voxel: tuple[int, int, int]
    state: str
    confidence: float | None
    note: str
    texture: str = ""
    active_seconds: float | None = None


def are_lesions(value: object) -> bool:
    """Return whether a value of a request is a list of at most 500 findings."""
    return isinstance(value, list) and len(value) <= _MOST_LESIONS and all(_is_lesion(one) for one in value)


def rejected_voxels(info: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """Return a voxel (column, row, slice) of each finding that was rejected, from the information of a label."""
    return [one.voxel for one in remarks_of(info) if one.state == REJECTED]


def remarks_of(info: Mapping[str, Any]) -> list[Remark]:
    """Return the remarks of the reader, from the information of a label; none if they are missing or malformed."""
    lesions: Any = info.get("lesions")
    found: Sequence[dict[str, Any]] = lesions if are_lesions(lesions) else ()
    return [Remark(**{**one, "voxel": tuple(one["voxel"])}) for one in found]


def _is_lesion(value: object) -> bool:
    if not isinstance(value, dict) or not _FIELDS <= value.keys() <= _FIELDS | _OPTIONAL_FIELDS:
        return False
    if value["state"] not in _STATES or value.get("texture", "") not in ("", *TEXTURES):
        return False
    voxel, confidence, note = value["voxel"], value["confidence"], value["note"]
    seconds = value.get("active_seconds")
    if seconds is not None and (type(seconds) not in (int, float) or not 0 <= seconds <= _LONGEST_SECONDS):
        return False
    if not is_voxel(voxel):
        return False
    if confidence is not None and (type(confidence) not in (int, float) or not 0 <= confidence <= 1):
        return False
    return isinstance(note, str) and len(note) <= _LONGEST_NOTE
