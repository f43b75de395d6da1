"""DICOM JSON (PS3.18 F) of a dataset, whatever its elements hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.tag import Tag

_MAX_INLINE_BYTES = 1024
_DicomJson = dict[str, dict[str, Any]]


def to_json(dataset: Dataset, keywords: Sequence[str] | None = None) -> _DicomJson:
    """Convert a dataset element by element.

    pydicom's ``to_json_dict`` cuts the decimals off an integer string, and fails as a whole (or switches the whole
    process to strict reading for a while) where one element cannot be parsed. Here such an element keeps its text if
    it should be a number, so that a message can name it, and is left out if not. Binary values over 1 KiB (private
    blocks, lookup tables, overlays, pixels) are left out: no viewer here asks for them.

    Args:
        dataset: Any dataset.
        keywords: Which attributes are wanted; all by default.
    """
    found: _DicomJson = {}
    tags = list(dataset.keys()) if keywords is None else [tag for word in keywords if (tag := Tag(word)) in dataset]
    for tag in tags:
        try:
            element = dataset[tag]
        except Exception:  # pydicom raises many kinds on values that are none
            converted = _text(dataset, tag)
        else:
            converted = _element(element)
        if converted is not None:
            found[f"{tag:08X}"] = converted
    return found


def _element(element: DataElement) -> dict[str, Any] | None:
    if isinstance(element.value, bytes) and len(element.value) > _MAX_INLINE_BYTES:
        return None
    try:
        if element.VR == "SQ":
            return {"vr": "SQ", "Value": [to_json(item) for item in element.value]}
        if element.VR in ("DS", "IS"):
            if element.is_empty:
                return {"vr": element.VR}
            values = element.value if isinstance(element.value, (MultiValue, list)) else [element.value]
            return {"vr": element.VR, "Value": [_number(value, element.VR) for value in values]}
        return element.to_json_dict(None, _MAX_INLINE_BYTES)
    except Exception:  # an odd value of one element must not cost the others
        return None


def _number(value: Any, vr: str) -> float | int | str | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except ValueError:
        return str(value)
    return int(number) if vr == "IS" and number.is_integer() else number


def _text(dataset: Dataset, tag: int) -> dict[str, Any] | None:
    """What stands where a number should."""
    try:
        raw = dataset.get_item(tag)
        vr = raw.VR or dictionary_VR(tag)
    except Exception:  # of an unknown VR, or of no known tag
        return None
    if vr not in ("DS", "IS") or not isinstance(raw.value, bytes):
        return None
    text = raw.value.decode("ascii", errors="replace").rstrip("\0 ")
    return {"vr": vr, "Value": [value.strip() or None for value in text.split("\\")]}
