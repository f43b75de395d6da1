"""Everything that is stored for an image: all versions of its label, and labels made of objects of other programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from monailabel.interfaces.datastore import DefaultLabelTag

from lib.datastore.label_info import author_of
from lib.datastore.label_record import INITIAL, LabelRecord
from lib.datastore.label_store import LabelStore
from lib.errors import UserError
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


def label_in_use(labels: LabelStore, image_id: str) -> LabelRecord | None:
    """Return the final or else the initial label of an image; None without one, or if one is damaged.

    An older label does not silently take the place of a damaged one.
    """
    if labels.damage(image_id, former=False):
        return None
    current = labels.current(image_id)
    return current.get(DefaultLabelTag.FINAL.value) or current.get(INITIAL)


def check_begun_from(labels: LabelStore, image_id: str, begun_from: int | None) -> None:
    """Check that no label was submitted since a user began.

    Args:
        labels: Labels as the user sees them.
        image_id: SeriesInstanceUID.
        begun_from: Number of the label that was in use when the user began; None if there was none.

    Raises:
        UserError: Another label is in use now (409).
    """
    record = label_in_use(labels, image_id)
    if record is None or record.number == begun_from:
        return
    begun = "there was no label" if begun_from is None else f"label {begun_from} was the latest"
    raise UserError(
        f"Label {record.number} by {author_of(record.info) or 'unknown'} was submitted since you began, when {begun}. "
        "Look at it, and submit again to replace it.",
        HTTPStatus.CONFLICT,
    )


def described(record: LabelRecord) -> dict[str, Any]:
    """Return number, tag, time and annotator of a label, and what the panel keeps with its mask."""
    facts = {name: record.info.get(name) for name in _FACTS}
    return {"number": record.number, "tag": record.tag, "time": record.time, **facts}


def refused_objects(refused: Iterable[Refused]) -> list[dict[str, Any]]:
    """Return objects that became no label, each with the reason."""
    return [{**_source(one.source), "reason": one.reason} for one in refused]


def _listed(labels: LabelStore, record: LabelRecord) -> dict[str, Any]:
    source = record.info.get("source") if record.tag in (INITIAL, CANDIDATE) else None
    sender = record.info.get("user")  # who was logged in; what an object says about its creator is not proven
    damage = labels.damage_of_file(record)
    return {
        **described(record),
        "source": _source({**source, "creator": sender or source.get("creator")})
        if isinstance(source, Mapping)
        else None,
        "problem": damage.problem if damage else None,
    }


def _source(source: Mapping[str, Any]) -> dict[str, Any]:
    names = ("kind", "creator", "description", "regions", "file")
    return {"when": created(source), **{name: source.get(name) for name in names}}
