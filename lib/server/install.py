"""Installation of this app's routes, error responses and access rules into MONAI Label's running server."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from fastapi.responses import RedirectResponse
from monailabel.config import settings
from monailabel.endpoints.user.auth import get_current_user

from lib.server.access.blinding import Views
from lib.server.access.route_table import filter_routes
from lib.server.access.rules import AccessRules
from lib.server.app_protocol import LungLabelApp
from lib.server.attention_routes import attention_router
from lib.server.current_user import current_user
from lib.server.datastore_routes import datastore_router
from lib.server.draft_routes import draft_router
from lib.server.error_responses import add_error_responses
from lib.server.followup_routes import followup_router
from lib.server.infer_routes import infer_router
from lib.server.log_routes import log_router
from lib.server.login_routes import login_router
from lib.server.model_routes import model_router
from lib.server.ohif_routes import ohif_router
from lib.server.oidc_routes import oidc_router
from lib.server.reading_routes import reading_router
from lib.server.review_routes import review_router
from lib.server.session_routes import session_router
from lib.server.status_routes import status_router
from lib.server.task_routes import task_router
from lib.server.upstream_patches import replace_middleware, replace_routes
from lib.server.viewer_routes import viewer_router


def install(
    server: FastAPI, app: LungLabelApp, dicomweb: APIRouter, access: AccessRules, views: Views | None = None
) -> None:
    """Replace routes, error responses and middleware of MONAI Label's server.

    MONAI Label has no hook for this; its ``--uvicorn_app`` works only if the user sets PYTHONPATH.

    Args:
        server: MONAI Label's FastAPI application.
        app: This app.
        dicomweb: Routes of ``/proxy/dicom``.
        access: Access rules.
        views: What each user may see; None without a reader study.
    """
    authentication = access.login.authentication if access.login else None
    routers = (
        infer_router(app),
        datastore_router(app),
        task_router(app),
        session_router(app),
        log_router(),
        login_router(authentication),
        oidc_router(authentication),
        model_router(app),
        viewer_router(app),
        reading_router(app),
        review_router(app),
        draft_router(app),
        followup_router(app),
        attention_router(app),
        status_router(app),
        dicomweb,
        ohif_router(access.listening.root_path),
        _start_page(),
    )
    replace_routes(server, routers, filter_routes)
    add_error_responses(server)
    server.dependency_overrides[get_current_user] = current_user  # MONAI Label's own routes ask for the user with it
    origins = settings.MONAI_LABEL_CORS_ORIGINS or ()
    replace_middleware(server, lambda inner: access.wrap(inner, origins, views), keep_cors=bool(origins))


def _start_page() -> APIRouter:
    """Return the route of the start page; MONAI Label's own loads scripts from public hosts."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def start() -> RedirectResponse:
        return RedirectResponse("/status")

    return router
