"""State of each case for the study list: labelled, skipped, in work, imported or to do."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from monailabel.interfaces.datastore import DefaultLabelTag

from lib.datastore.catalog import Series
from lib.datastore.label_record import INITIAL
from lib.datastore.series_datastore import SeriesDatastore
from lib.datastore.skipped_images import Skipped
from lib.initial_labels.candidates import CANDIDATE

LABELLED, SKIPPED, IN_WORK, IMPORTED, TO_DO = "labelled", "skipped", "in work", "imported", "to do"


def study_states(datastore: SeriesDatastore, in_work: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the usable DICOM series of each study by StudyInstanceUID, each with its description and state.

    Args:
        datastore: Images and labels.
        in_work: Images that were offered to somebody, or of which the user has a draft.
    """
    skipped = datastore.skipped.all()
    studies: dict[str, list[dict[str, Any]]] = {}
    for series in datastore.catalog.all():
        if series.problem is None and series.is_dicom:
            described = {
                "series": series.uid,
                "description": series.value("SeriesDescription"),
                "state": _state(series, datastore, skipped.get(series.uid), in_work),
                "reason": skipped[series.uid]["reason"] if series.uid in skipped else None,
            }
            studies.setdefault(series.study_uid, []).append(described)
    return studies


def _state(series: Series, datastore: SeriesDatastore, skipped: Skipped | None, in_work: Collection[str]) -> str:
    tags = datastore.labels.current(series.uid).keys()
    if DefaultLabelTag.FINAL.value in tags:
        return LABELLED
    if skipped:
        return SKIPPED
    if series.uid in in_work:
        return IN_WORK
    return IMPORTED if tags & {INITIAL, CANDIDATE} else TO_DO
