"""What others have marked on an image, and whether one of it is its initial label.

One rule, whatever the order in which objects are read: the initial label is what the only object marks. Where several
objects mark different voxels, which of them is meant is for a person to say: each is kept as a candidate, none is the
initial label, and OHIF's panel offers them to choose from. ``main.py labels --restore`` makes one the initial label.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib.datastore.label_store import LabelRecord, LabelStore

INITIAL, CANDIDATE = "initial", "candidate"
SEVERAL = (
    "several objects mark a tumour on it, each in its own way, so none of them became its initial label: choose one in "
    "OHIF beside Load label"
)


def candidates(labels: LabelStore, image_id: str, slices: int) -> list[LabelRecord]:
    """List the labels that were made of objects of others, one for each object, the oldest object first.

    Args:
        labels: Where they are kept.
        image_id: SeriesInstanceUID.
        slices: That the image has now; what was made when it had others does not count.
    """
    by_object = {}
    for record in labels.history(image_id):
        source = record.info.get("source")
        made = record.tag in (INITIAL, CANDIDATE) and record.sha256 and isinstance(source, dict)
        if made and record.info.get("slices") == slices:
            by_object[source.get("uid")] = record
    return sorted(by_object.values(), key=lambda record: _age(record.info["source"]))


def settle(labels: LabelStore, image_id: str, slices: int) -> bool:
    """Take the initial label of an image out of use where several objects mark different voxels.

    Whatever was read first, and whenever the process was killed, the same comes of it. A label that a person has
    restored stays.

    Returns:
        Whether a person is to choose.
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


def described(record: LabelRecord) -> dict[str, Any]:
    """A candidate as the panel shows it."""
    info = record.info
    names = ("kind", "creator", "description", "regions")
    told = {name: info["source"].get(name) for name in names}
    return {"number": record.number, "when": when(info["source"]), "ml": info.get("millilitres"), **told}


def in_words(info: Mapping[str, Any]) -> str:
    """A candidate in a line, from what is kept with it."""
    source = info["source"]
    about = (source.get("creator"), when(source), source.get("description"))
    parts = [", ".join(source.get("regions") or ()), f"{info.get('millilitres', 0):.2f} ml", *about]
    return f"{source['kind']} {source['uid']}: {', '.join(part for part in parts if part)}"


def when(source: Mapping[str, Any]) -> str:
    """Date and time (PS3.5 6.2) of an object as people write them; empty where it has none."""
    date, time = str(source.get("date") or ""), str(source.get("time") or "")
    day = f"{date[:4]}-{date[4:6]}-{date[6:8]}" if len(date) == 8 and date.isdigit() else date
    return " ".join(filter(None, (day, f"{time[:2]}:{time[2:4]}" if time[:4].isdigit() and len(time) >= 4 else "")))


def _age(source: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(source.get("date") or ""), str(source.get("time") or ""), str(source.get("uid"))
