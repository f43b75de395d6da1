"""Labels under review that come before all others: to correct for who submitted them, to review for reviewers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lib.activelearning.asker import Asker
from lib.datastore.label_info import author_of
from lib.datastore.label_record import LabelRecord
from lib.datastore.label_review import SENT_BACK, WAITING, ReviewState
from lib.datastore.series_datastore import SeriesDatastore
from lib.identity.names import is_same_user

_FINAL = "final"


def sent_back(request: Mapping[str, Any], datastore: SeriesDatastore) -> dict[str, Any] | None:
    """Return the image whose label was sent back to the asker first; None if there is none."""
    user = Asker.of(request).user
    found = [
        (one.review.time, image)
        for image, record, one in _reviewed(datastore)
        if one.state == SENT_BACK and one.review and is_same_user(author_of(record.info), user)
    ]
    return {"id": min(found)[1], "review_state": SENT_BACK} if found else None


def waiting(request: Mapping[str, Any], datastore: SeriesDatastore) -> dict[str, Any] | None:
    """Return the image whose label has waited for the review of the asker the longest; None if there is none."""
    asker = Asker.of(request)
    found = [
        (record.time, image)
        for image, record, one in _reviewed(datastore)
        if one.state == WAITING and asker.reviews and not is_same_user(author_of(record.info), asker.user)
    ]
    return {"id": min(found)[1], "review_state": WAITING} if found else None


def _reviewed(datastore: SeriesDatastore) -> Iterator[tuple[str, LabelRecord, ReviewState]]:
    """Yield the images whose final labels are under review, with label and state."""
    for image in datastore.get_labeled_images():
        record, state = datastore.labels.current(image).get(_FINAL), datastore.review_of(image)
        if record and state:
            yield image, record, state
