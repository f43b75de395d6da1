"""QIDO-RS attribute matching (PS3.4 C.2.2.2) on DICOM JSON."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

_RANGE_VRS = ("DA", "TM", "DT")
_DicomJson = dict[str, dict[str, Any]]


def tag_of(name: str) -> str | None:
    """Return the DICOM JSON key of a keyword or 8-digit tag; None if it is not in the dictionary.

    Example:
        >>> tag_of("PatientID"), tag_of("00100020"), tag_of("Nonsense")
        ('00100020', '00100020', None)
    """
    if re.fullmatch(r"[0-9A-Fa-f]{8}", name) and keyword_for_tag(int(name, 16)):
        return name.upper()
    tag = tag_for_keyword(name) if name else None  # the dictionary has retired attributes without a keyword
    return None if tag is None else f"{tag:08X}"


def values_of(dataset: _DicomJson, tag: str) -> list[str]:
    """Return the values of an attribute as strings; of person names, the alphabetic representation."""
    values = dataset.get(tag, {}).get("Value") or []
    return [str(v.get("Alphabetic", "") if isinstance(v, dict) else v) for v in values if v is not None]


def first_value(dataset: _DicomJson, keyword: str) -> str:
    """Return the first value of an attribute by its keyword; empty if it has none."""
    return next(iter(values_of(dataset, tag_of(keyword) or "")), "")


def matches(dataset: _DicomJson, filters: Mapping[str, str], *, fuzzy: bool = False) -> bool:
    """Return whether a dataset matches all filters.

    Args:
        dataset: DICOM JSON.
        filters: Requested value by keyword or tag: a single value, a list of UIDs separated by commas or backslashes, a
            range of dates or times (``20240101-20241231``), or a pattern with ``*`` and ``?``. Empty matches all.
        fuzzy: Whether person names match if they contain the value anywhere.
    """
    return all(_matches_one(dataset, name, str(value), fuzzy) for name, value in filters.items())


def _matches_one(dataset: _DicomJson, name: str, wanted: str, fuzzy: bool) -> bool:
    tag = tag_of(name)
    if tag is None or wanted.strip("*") == "":
        return True
    vr = dictionary_VR(int(tag, 16))
    found = values_of(dataset, tag)
    if vr in _RANGE_VRS and "-" in wanted:
        low, high = wanted.split("-", 1)
        return any((not low or value >= low) and (not high or value[: len(high)] <= high) for value in found)
    if vr == "UI":
        return bool(set(re.split(r"[,\\]", wanted)) & set(found))
    if vr == "PN":
        wanted, found = wanted.lower(), [value.lower() for value in found]
        if fuzzy:
            return any(wanted.strip("*") in value for value in found)
    pattern = re.compile(fnmatch.translate(wanted.replace("[", "[[]")))
    return any(pattern.match(value) for value in found)
