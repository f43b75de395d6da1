"""Conversion of a dataset to DICOM JSON (PS3.18 F) that tolerates invalid elements."""

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
    """Convert a dataset to DICOM JSON element by element.

    pydicom's ``to_json_dict`` truncates decimals of an integer string, and fails as a whole (or temporarily switches
    the whole process to strict reading) if one element cannot be parsed. Here such an element keeps its text if its VR
    is numeric, so that a message can quote it, and is omitted otherwise. Binary values over 1 KiB (private blocks,
    lookup tables, overlays, pixels) are omitted, because no viewer uses them.

    Args:
        dataset: Any dataset.
        keywords: Keywords of the attributes to convert; default: all.
    """
    found: _DicomJson = {}
    tags = list(dataset.keys()) if keywords is None else [tag for word in keywords if (tag := Tag(word)) in dataset]
    for tag in tags:
        try:
            element = dataset[tag]
        except Exception:  # pydicom raises many types on invalid values
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
    except Exception:  # an invalid value of one element must not affect the others
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
    """Return the text of an element with numeric VR whose value is not a number; None for other elements."""
    try:
        raw = dataset.get_item(tag)
        vr = raw.VR or dictionary_VR(tag)
    except Exception:  # unknown VR or tag
        return None
    if vr not in ("DS", "IS") or not isinstance(raw.value, bytes):
        return None
    text = raw.value.decode("ascii", errors="replace").rstrip("\0 ")
    return {"vr": vr, "Value": [value.strip() or None for value in text.split("\\")]}
