"""State of each case for the study list: labelled or under review, skipped, in work, imported or to do."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from lib.datastore.catalog import Series
from lib.datastore.label_record import INITIAL
from lib.datastore.series_datastore import SeriesDatastore
from lib.datastore.skipped_images import Skipped
from lib.initial_labels.candidates import CANDIDATE
from lib.reading.views import View

LABELLED, SKIPPED, IN_WORK, IMPORTED, TO_DO = "labelled", "skipped", "in work", "imported", "to do"


def study_states(
    datastore: SeriesDatastore, in_work: Collection[str], drafts: Collection[str] = (), view: View | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Return the usable DICOM series of each study by StudyInstanceUID, each with its description and state.

    Args:
        datastore: Images and labels.
        in_work: Images that were offered to somebody.
        drafts: Images of which the user has a draft.
        view: What the user may see; everything by default.
    """
    view = View(datastore.labels) if view is None else view
    skipped = {} if view.restricted else datastore.skipped.all()
    in_work = {*drafts, *(() if view.restricted else in_work)}
    studies: dict[str, list[dict[str, Any]]] = {}
    for series in datastore.catalog.all():
        if series.problem is None and series.is_dicom and view.shows(series.uid):
            review = None if view.restricted else datastore.review_of(series.uid)
            reason = skipped[series.uid]["reason"] if series.uid in skipped else None
            described = {
                "series": series.uid,
                "description": series.value("SeriesDescription"),
                "state": review.state if review else _state(series, view, skipped.get(series.uid), in_work),
                "reason": review.review.note if review and review.review else reason,
            }
            studies.setdefault(series.study_uid, []).append(described)
    return studies


def _state(series: Series, view: View, skipped: Skipped | None, in_work: Collection[str]) -> str:
    if view.is_done(series.uid):
        return LABELLED
    if skipped:
        return SKIPPED
    if series.uid in in_work:
        return IN_WORK
    return IMPORTED if view.labels.current(series.uid).keys() & {INITIAL, CANDIDATE} else TO_DO
