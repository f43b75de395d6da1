"""Headers of slices, whether each is an instance or a frame of enhanced multi-frame CT (PS3.3 C.7.6.16)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lib.dicomweb.matching import first_value

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
MULTI_FRAME_CT = (
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT Image Storage
)
_SHARED, _PER_FRAME = "52009229", "52009230"
_FRAME_TYPE, _IMAGE_TYPE = "00089007", "00080008"
_DicomJson = dict[str, dict[str, Any]]


def is_multi_frame(instances: Iterable[_DicomJson]) -> bool:
    """Return whether a series has enhanced multi-frame CT."""
    return any(first_value(instance, "SOPClassUID") in MULTI_FRAME_CT for instance in instances)


def slice_headers(instances: Sequence[_DicomJson]) -> list[_DicomJson]:
    """Return the DICOM JSON of each slice; frames, in stored order, have the attributes of their functional groups.

    Args:
        instances: DICOM JSON; multi-frame instances with their functional groups, as in WADO-RS metadata (PS3.18 F.2).
    """
    found = []
    for instance in instances:
        if first_value(instance, "SOPClassUID") in MULTI_FRAME_CT:
            found.extend(_frames(instance))
        else:
            found.append(instance)
    return found


def _frames(instance: _DicomJson) -> list[_DicomJson]:
    whole = {tag: value for tag, value in instance.items() if tag not in (_SHARED, _PER_FRAME)}
    shared = _attributes(_items(instance, _SHARED)[:1])
    return [{**whole, **shared, **_attributes([frame])} for frame in _items(instance, _PER_FRAME)]


def _attributes(functional_groups: list[_DicomJson]) -> _DicomJson:
    """Return the attributes of all functional groups of a frame, without their nesting."""
    flat: _DicomJson = {}
    for groups in functional_groups:
        for tag, group in groups.items():
            for item in _items(groups, tag):
                flat.update({inner: value for inner, value in item.items() if value.get("vr") != "SQ"})
            if group.get("vr") != "SQ":
                flat[tag] = group
    if _FRAME_TYPE in flat:
        flat[_IMAGE_TYPE] = flat[_FRAME_TYPE]
    return flat


def _items(dataset: _DicomJson, tag: str) -> list[_DicomJson]:
    return [item for item in dataset.get(tag, {}).get("Value") or [] if isinstance(item, dict)]
