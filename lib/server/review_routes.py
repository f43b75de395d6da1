"""``/viewer/review``: a reviewer approves the label of an image, or sends it back with a note."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Depends, Form
from monailabel.endpoints.user.auth import User

from lib.datastore.label_info import author_of
from lib.datastore.label_record import LabelRecord
from lib.datastore.label_review import APPROVED, SENT_BACK, LabelReview
from lib.datastore.series_datastore import SeriesDatastore
from lib.errors import UserError
from lib.identity.names import is_same_user
from lib.server.app_protocol import LungLabelApp
from lib.server.current_user import current_user, is_logged_in, may_review


def review_router(app: LungLabelApp) -> APIRouter:
    """Return the routes of the review of labels of ``app``. ``number`` is that of the label which the user has seen."""
    router = APIRouter(prefix="/viewer/review", tags=["Review"])

    @router.post("/approve", summary="Approve the latest label of an image")
    def approve(image: str, number: int, note: str = Form(""), user: User = Depends(current_user)) -> dict[str, Any]:
        return reviewed(image, number, APPROVED, note, user)

    @router.post("/send-back", summary="Send the latest label of an image back to who submitted it, with a note")
    def send_back(image: str, number: int, note: str = Form(""), user: User = Depends(current_user)) -> dict[str, Any]:
        return reviewed(image, number, SENT_BACK, note, user)

    def reviewed(image: str, number: int, verdict: str, note: str, user: User) -> dict[str, Any]:
        if not is_logged_in(user):
            raise UserError("Labels are reviewed where log-in is on: --conf login true.", HTTPStatus.CONFLICT)
        app.datastore().series(image)
        app.datastore().review_label(image, number, LabelReview(verdict, user.username, time.time(), note.strip()))
        app.on_review(image)
        return {"image": image, "number": number, "state": verdict}

    return router


def review_of_case(datastore: SeriesDatastore, record: LabelRecord | None, user: User) -> dict[str, Any] | None:
    """Return the review of the label in use of an image for the panel, and whether the user may review it.

    Args:
        datastore: Images and labels.
        record: The label in use.
        user: Who asks.

    Returns:
        None if there is no final label.
    """
    if record is None or record.tag != "final":
        return None
    state = datastore.review_of(record.image_id)
    known = state.to_json() if state else dict.fromkeys(("state", "by", "time", "note"))
    return {**known, "may_review": may_review(user) and not is_same_user(author_of(record.info), user.username)}
