"""The lesions of a new label, numbered after those of the former label of its image."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import DefaultLabelTag

from lib.datastore.label_record import INITIAL, read_voxels
from lib.datastore.label_store import LabelStore
from lib.datastore.lesion_numbers import FormerLesions, former_lesions, number_lesions
from lib.errors import UserError

logger = logging.getLogger(__name__)

_FOLLOWED = (DefaultLabelTag.FINAL.value, INITIAL)
_MOST_TRACKED = 1000  # a mask of more specks is no list of lesions, and would make its record large


def lesions_of_submission(
    store: LabelStore, image_id: str, tag: str, voxels: np.ndarray, labels: Mapping[str, int]
) -> dict[str, Any]:
    """Return ``lesion_numbers`` and ``last_lesion_number`` for the info of a new label.

    Only for one that the next label is numbered after: each batch of predictions would use up numbers, and the lesions
    of a person's first label would begin after all of them.

    Args:
        store: Labels of all images.
        image_id: SeriesInstanceUID.
        tag: Tag of the new label.
        voxels: The new label (slice, row, column).
        labels: Label values by name.
    """
    if tag not in _FOLLOWED:
        return {}
    former = _former(store, image_id, labels)
    lesions = number_lesions(voxels, labels, former)
    last = max([former.last, *(one.number for one in lesions)])
    if len(lesions) > _MOST_TRACKED:
        return {"last_lesion_number": last}
    return {"lesion_numbers": [one.to_json() for one in lesions], "last_lesion_number": last}


def highest_number(store: LabelStore, image_id: str) -> int:
    """Return the highest number that a lesion of an image was given so far; 0 if none was given one yet."""
    known = (record.info.get("last_lesion_number") for record in store.history(image_id))
    return max((number for number in known if type(number) is int), default=0)


def _former(store: LabelStore, image_id: str, labels: Mapping[str, int]) -> FormerLesions:
    """Return the lesions of the label in use, the final one or else the imported one; of none if it is damaged."""
    highest = highest_number(store, image_id)
    in_use = store.in_use(image_id)
    record = next((in_use[tag] for tag in _FOLLOWED if tag in in_use), None)
    try:
        found = former_lesions(record, read_voxels(store.content(record)), labels) if record else None
    except (UserError, OSError, ValueError) as error:  # a damaged label must not prevent a new one
        logger.warning("Lesions of %s are not numbered after its former label: %s", image_id, error)
        found = None
    if found is None:
        return FormerLesions(np.zeros((0, 0, 0), np.int32), {}, highest)
    return replace(found, last=max(found.last, highest))  # a restored label has an old one
