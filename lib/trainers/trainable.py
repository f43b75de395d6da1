"""Whether there is anything to train on, with a sentence if there is not."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from lib.datastore.series_datastore import SeriesDatastore
from lib.errors import UserError
from lib.reading.reading_list import StudyPlan
from lib.reading.stored_readings import StudyLabels
from lib.settings import check_request


def check_trainable(
    request: Mapping[str, Any], datastore: SeriesDatastore, info: Mapping[str, Any], plan: StudyPlan | None
) -> None:
    """Raise a UserError if no image is labelled or a value of a request is invalid.

    Args:
        request: Parameters of a request to train.
        datastore: Images and labels.
        info: ``info.yaml``.
        plan: The reader study that the server serves; None without one.
    """
    for section in ("train", "train_clicks"):
        check_request(info, section, request)
    wanted = request.get("readers_mean", info["config"]["train"]["readers_mean"])
    if datastore.trained_on() or (wanted and plan and _has_mean_of_readers(datastore, plan)):
        return
    why = (
        "no label is approved yet. A reviewer approves labels in the panel"
        if datastore.get_labeled_images()
        else "no image is labelled yet. Open one, correct the mask, submit it, then train"
    )
    raise UserError(f"There is nothing to train on: {why}.", HTTPStatus.CONFLICT)


def _has_mean_of_readers(datastore: SeriesDatastore, plan: StudyPlan) -> bool:
    """Return whether all readers of a case have labelled it; a label that waits for a review is not learned."""
    labels = StudyLabels(datastore.labels, plan)
    return not datastore.review_required and any(labels.is_complete(case) for case in plan.study.cases)
