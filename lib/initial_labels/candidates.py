"""Candidates for the initial label of an image: labels made from the objects of other programs.

One rule, independent of the order in which objects are read: the mask of a single object becomes the initial label.
If several objects mark different voxels, each is kept as a candidate, none becomes the initial label, and the OHIF
panel lets the user choose. ``main.py labels --restore`` makes a candidate the initial label, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib.datastore.label_record import INITIAL, LabelRecord
from lib.datastore.label_store import LabelStore

CANDIDATE = "candidate"
AMBIGUOUS = (
    "several objects mark a tumour on it, with different voxels, so none became its initial label: choose one in OHIF, "
    "in the list of stored labels"
)


def candidates(labels: LabelStore, image_id: str, slices: int) -> list[LabelRecord]:
    """List the labels made from objects of other programs, one per object, oldest object first.

    Args:
        labels: Store of the labels.
        image_id: SeriesInstanceUID.
        slices: Current number of slices of the image; labels made for another number are ignored.
    """
    by_object: dict[Any, LabelRecord] = {}
    for record in labels.history(image_id):
        source = record.info.get("source")
        if record.tag not in (INITIAL, CANDIDATE) or not record.sha256 or not isinstance(source, dict):
            continue
        if record.info.get("slices") == slices:
            by_object[source.get("uid")] = record
    return sorted(by_object.values(), key=lambda record: _sort_key(record.info["source"]))


def withdraw_ambiguous(labels: LabelStore, image_id: str, slices: int) -> bool:
    """Withdraw the initial label of an image if several objects mark different voxels.

    Idempotent and independent of the order in which objects were read, so a killed process leaves no other result.
    A label restored by a user is kept.

    Args:
        labels: Store of the labels.
        image_id: SeriesInstanceUID.
        slices: Current number of slices of the image.

    Returns:
        Whether the user has to choose.
    """
    found = candidates(labels, image_id, slices)
    if len({record.info.get("checksum") or record.sha256 for record in found}) < 2:
        return False
    current = labels.in_use(image_id).get(INITIAL)
    if current and "restored" in current.info:
        return False
    if current:
        labels.withdraw(image_id, INITIAL)
    return True


def describe(info: Mapping[str, Any]) -> str:
    """Return a one-line description of a candidate from its stored ``info``."""
    source = info["source"]
    origin = (source.get("creator"), created(source), source.get("description"))
    parts = [", ".join(source.get("regions") or ()), f"{info.get('millilitres', 0):.2f} ml", *origin]
    return f"{source['kind']} {source['uid']}: {', '.join(part for part in parts if part)}"


def created(source: Mapping[str, Any]) -> str:
    """Return date and time (PS3.5 6.2) of an object as ``2015-02-03 17:51``; empty if it has none."""
    date, time = str(source.get("date") or ""), str(source.get("time") or "")
    day = f"{date[:4]}-{date[4:6]}-{date[6:8]}" if len(date) == 8 and date.isdigit() else date
    return " ".join(filter(None, (day, f"{time[:2]}:{time[2:4]}" if time[:4].isdigit() and len(time) >= 4 else "")))


def _sort_key(source: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(source.get("date") or ""), str(source.get("time") or ""), str(source.get("uid"))
