"""Putting this app's routes, error answers and rules into MONAI Label's running server."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import requests
from fastapi import APIRouter, FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, RedirectResponse, Response
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from starlette.exceptions import HTTPException

from lib.datastore.image_writing import NO_ROOM
from lib.dicomweb.dicom_file import NotUsableError
from lib.errors import UserError
from lib.server.access.route_table import filter_routes
from lib.server.access.rules import AccessRules
from lib.server.datastore_routes import datastore_router
from lib.server.infer_routes import infer_router
from lib.server.log_routes import log_router
from lib.server.model_routes import model_router
from lib.server.ohif_routes import ohif_router
from lib.server.picture_routes import picture_router
from lib.server.session_routes import session_router
from lib.server.status_routes import status_router
from lib.server.task_routes import task_router
from lib.server.viewer_routes import viewer_router
from lib.storage.json_values import finite

logger = logging.getLogger(__name__)

_CLIENT_ERRORS = (MONAILabelError.INVALID_INPUT, MONAILabelError.APP_INIT_ERROR)


def install(server: FastAPI, app: MONAILabelApp, dicomweb: APIRouter, access: AccessRules) -> None:
    """Change MONAI Label's server into this app's.

    MONAI Label has no hook for it; its ``--uvicorn_app`` works only with PYTHONPATH set by the user.

    Args:
        server: MONAI Label's FastAPI application.
        app: This app.
        dicomweb: Answers ``/proxy/dicom``.
        access: Who may call what.
    """
    routes = server.router.routes
    stock = len(routes)
    ours = (
        infer_router(app),
        datastore_router(app),
        task_router(app),
        session_router(app),
        log_router(),
        model_router(app),
        viewer_router(app),
        picture_router(app),
        status_router(app),
        dicomweb,
        ohif_router(),
        _start_page(),
    )
    for router in ours:
        server.include_router(router)
    # Ours first; what is in no table is gone, whatever MONAI Label brings along.
    routes[:] = filter_routes(routes[stock:] + routes[:stock])

    if not settings.MONAI_LABEL_CORS_ORIGINS:
        # By default MONAI Label lets every web page that the user visits read the patients' images.
        server.user_middleware = [m for m in server.user_middleware if m.cls is not CORSMiddleware]
    server.add_exception_handler(UserError, _answer_user_error)
    server.add_exception_handler(HTTPException, _answer_http_error)
    server.add_exception_handler(RequestValidationError, _answer_invalid)
    server.add_exception_handler(NotUsableError, _answer_not_usable)
    server.add_exception_handler(MONAILabelException, _answer_monailabel_error)
    server.add_exception_handler(requests.RequestException, _answer_pacs_away)
    server.add_exception_handler(OSError, _answer_os_error)
    server.add_exception_handler(Exception, _answer_unforeseen)
    # It was built before the app was loaded. Around it all, so that errors carry the headers, too.
    server.middleware_stack = access.wrap(server.build_middleware_stack(), settings.MONAI_LABEL_CORS_ORIGINS)


def _start_page() -> APIRouter:
    """MONAI Label's own page loads scripts from public hosts."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def start() -> RedirectResponse:
        return RedirectResponse("/status")

    return router


async def _answer_user_error(request: Request, error: Any) -> JSONResponse:
    logger.info("%s %s refused: %s", request.method, request.url.path, error)
    return JSONResponse({"detail": str(error)}, status_code=int(error.status))


async def _answer_http_error(request: Request, error: Any) -> Response:
    """Starlette's and MONAI Label's own refusals, those without a word said in a sentence."""
    if isinstance(error.__cause__, OSError):  # while a body was kept on disk
        return await _answer_os_error(request, error.__cause__)
    if error.status_code in (404, 405) and error.detail == HTTPStatus(error.status_code).phrase:
        what = request.url.path if error.status_code == 404 else f"{request.method} {request.url.path}"
        error = HTTPException(error.status_code, f"This app has no {what}.", error.headers)
    return await http_exception_handler(request, error)


async def _answer_invalid(request: Request, error: Any) -> JSONResponse:
    """FastAPI's own repeats the input, which is not always JSON."""
    told = [{name: one[name] for name in ("loc", "msg", "type")} for one in error.errors()]
    return JSONResponse({"detail": finite(told)}, status_code=422)


async def _answer_not_usable(request: Request, error: Any) -> JSONResponse:
    return await _answer_user_error(request, UserError(f"A file cannot be used: {error}.", 422))


async def _answer_monailabel_error(request: Request, error: Any) -> JSONResponse:
    status = 400 if error.error in _CLIENT_ERRORS else 500
    return JSONResponse({"detail": error.msg}, status_code=status)


async def _answer_pacs_away(request: Request, error: Any) -> JSONResponse:
    detail = f"The PACS did not answer ({type(error).__name__}). Try again when it runs and can be reached from here."
    return await _answer_user_error(request, UserError(detail, HTTPStatus.SERVICE_UNAVAILABLE))


async def _answer_os_error(request: Request, error: Any) -> JSONResponse:
    if error.errno not in NO_ROOM:
        return await _answer_unforeseen(request, error)
    logger.error("%s %s: %s", request.method, request.url.path, error)
    detail = (
        f"The server's disk takes no more ({error.strerror}), so nothing was stored. Make room there and try again."
    )
    return JSONResponse({"detail": detail}, status_code=507)


async def _answer_unforeseen(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    detail = f"The server failed at this request ({type(error).__name__}). logs/app.log in the workspace says where."
    return JSONResponse({"detail": detail}, status_code=500)
