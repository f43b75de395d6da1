"""``/viewer/reading``, ``/viewer/disagreements``, ``/viewer/preference``: the study that a user takes part in."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Query, Request

from lib.errors import UserError
from lib.reading.preference_view import PreferenceView
from lib.reading.reviewer_view import ReviewerView
from lib.server.app_protocol import LungLabelApp
from lib.server.study_views import current_view

_SECONDS = Query(None, ge=0, le=10**6, allow_inf_nan=False, description="Time without pauses for this answer")


def reading_router(app: LungLabelApp) -> APIRouter:
    """Return the routes of the reader study of ``app``."""
    router = APIRouter(prefix="/viewer", tags=["Reader study"])

    @router.get("/reading", summary="The study that the user takes part in: what is done, due and asked; null without")
    def reading(request: Request) -> dict[str, Any] | None:
        return current_view(request, app.datastore().labels).describe()

    @router.get("/disagreements", summary="Cases that a reviewer of the study decides on, with anonymous labels")
    def cases(request: Request) -> list[dict[str, Any]]:
        view = current_view(request, app.datastore().labels)
        return view.cases() if isinstance(view, ReviewerView) else []

    @router.get("/preference", summary="What a reader of a preference study is asked about a case")
    def questions(image: str, request: Request) -> list[dict[str, Any]]:
        view = current_view(request, app.datastore().labels)
        return view.questions(image) if isinstance(view, PreferenceView) else []

    @router.post("/preference", summary="Answer: A, B or equal; lesion 0 is the whole case")
    def answer(
        image: str,
        lesion: int,
        answer: str,
        shown: str,
        request: Request,
        active_seconds: float | None = _SECONDS,
    ) -> list[dict[str, Any]]:
        view = current_view(request, app.datastore().labels)
        if not isinstance(view, PreferenceView):
            raise UserError("You are no reader of a preference study on this server.", HTTPStatus.FORBIDDEN)
        view.answer(image, lesion, answer, active_seconds, shown)
        return view.questions(image)

    return router
