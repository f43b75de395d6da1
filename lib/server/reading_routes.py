"""``/viewer/reading`` and ``/viewer/disagreements``: the reader study that a user takes part in."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from lib.reading.reviewer_view import ReviewerView
from lib.server.app_protocol import LungLabelApp
from lib.server.study_views import current_view


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

    return router
