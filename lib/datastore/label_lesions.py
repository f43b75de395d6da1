"""What the viewer sends with a label about each of its findings, those that were rejected included.

As JSON it is a list of ``{"voxel": [column, row, slice], "state": "accepted", "confidence": 0.93, "note": ""}``: a
voxel in the finding; ``proposed`` or ``accepted`` for one that the model marked, ``added`` for one that it did not
mark, and ``rejected`` for one that it marked and that is not in the label; the confidence of the model that it is a
lesion, null if it was not judged; and a free note. A training of the second stage learns from what was rejected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib.datastore.label_clicks import is_voxel

_REJECTED = "rejected"
_STATES = ("proposed", "accepted", "added", _REJECTED)
_FIELDS = {"voxel", "state", "confidence", "note"}
_MOST_LESIONS = 500
_LONGEST_NOTE = 1000


def are_lesions(value: object) -> bool:
    """Return whether a value of a request is a list of at most 500 findings."""
    return isinstance(value, list) and len(value) <= _MOST_LESIONS and all(_is_lesion(one) for one in value)


def rejected_voxels(info: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """Return a voxel (column, row, slice) of each finding that was rejected, from the information of a label."""
    lesions: Any = info.get("lesions")
    return [tuple(one["voxel"]) for one in lesions if one["state"] == _REJECTED] if are_lesions(lesions) else []


def _is_lesion(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() != _FIELDS or value["state"] not in _STATES:
        return False
    voxel, confidence, note = value["voxel"], value["confidence"], value["note"]
    if not is_voxel(voxel):
        return False
    if confidence is not None and (type(confidence) not in (int, float) or not 0 <= confidence <= 1):
        return False
    return isinstance(note, str) and len(note) <= _LONGEST_NOTE
