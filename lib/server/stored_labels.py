"""Everything that is stored for an image: all versions of its label, and labels made of objects of other programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lib.datastore.label_record import INITIAL, LabelRecord
from lib.datastore.label_store import LabelStore
from lib.initial_labels.candidates import CANDIDATE, created
from lib.initial_labels.initial_labels import Refused

_FACTS = (
    "annotator",
    "note",
    "noted_by",
    "viewer",
    "model_version",
    "voxels",
    "findings",
    "lesions",
    "measurements",
    "lesion_numbers",
)


def stored_labels(labels: LabelStore, image_id: str) -> list[dict[str, Any]]:
    """Return all labels of an image, the latest first, with the reason why one cannot be used."""
    return [_listed(labels, record) for record in reversed(labels.history(image_id)) if record.sha256]


def described(record: LabelRecord) -> dict[str, Any]:
    """Return number, tag, time and annotator of a label, and what the panel keeps with its mask."""
    facts = {name: record.info.get(name) for name in _FACTS}
    return {"number": record.number, "tag": record.tag, "time": record.time, **facts}


def refused_objects(refused: Iterable[Refused]) -> list[dict[str, Any]]:
    """Return objects that became no label, each with the reason."""
    return [{**_source(one.source), "reason": one.reason} for one in refused]


def _listed(labels: LabelStore, record: LabelRecord) -> dict[str, Any]:
    source = record.info.get("source") if record.tag in (INITIAL, CANDIDATE) else None
    damage = labels.damage_of_file(record)
    return {
        **described(record),
        "source": _source(source) if isinstance(source, Mapping) else None,
        "problem": damage.problem if damage else None,
    }


def _source(source: Mapping[str, Any]) -> dict[str, Any]:
    names = ("kind", "creator", "description", "regions", "file")
    return {"when": created(source), **{name: source.get(name) for name in names}}
