"""Putting this app's routes, error answers and rules into MONAI Label's running server."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import requests
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException

from lib.datastore.image_writing import NO_ROOM
from lib.dicomweb.dicom_file import NotUsableError
from lib.errors import UserError
from lib.json_values import finite
from lib.server.datastore_routes import datastore_router
from lib.server.infer_routes import infer_router
from lib.server.log_routes import log_router
from lib.server.model_routes import model_router
from lib.server.picture_routes import picture_router
from lib.server.session_routes import session_router
from lib.server.status_routes import status_router
from lib.server.task_routes import task_router
from lib.server.viewer_routes import viewer_router
from lib.viewer.ohif_routes import ohif_router

logger = logging.getLogger(__name__)

# Whole-slide pathology takes any path of the server's disk as an image; /reload makes a second app behind these
# routes; the proxy asks what is no PACS. This app has no use for any.
_CLOSED = ("/infer/wsi/{path:path}", "/infer/wsi_v2/{path:path}", "/reload", "/proxy/{path:path}")
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_CLIENT_ERRORS = (MONAILabelError.INVALID_INPUT, MONAILabelError.APP_INIT_ERROR)


def install(server: FastAPI, app: MONAILabelApp, dicomweb: APIRouter) -> None:
    """Change MONAI Label's server into this app's.

    MONAI Label has no hook for it; its ``--uvicorn_app`` works only with PYTHONPATH set by the user.

    Args:
        server: MONAI Label's FastAPI application.
        app: This app.
        dicomweb: Answers ``/proxy/dicom``.
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
        _closed_router(),
    )
    for router in ours:
        server.include_router(router)
    routes[:] = routes[stock:] + routes[:stock]

    if not settings.MONAI_LABEL_CORS_ORIGINS:
        # By default MONAI Label lets every web page that the user visits read the patients' images.
        server.user_middleware = [m for m in server.user_middleware if m.cls is not CORSMiddleware]
    server.add_exception_handler(UserError, _answer_user_error)
    server.add_exception_handler(RequestValidationError, _answer_invalid)
    server.add_exception_handler(NotUsableError, _answer_not_usable)
    server.add_exception_handler(MONAILabelException, _answer_monailabel_error)
    server.add_exception_handler(requests.RequestException, _answer_pacs_away)
    server.add_exception_handler(OSError, _answer_os_error)
    server.add_exception_handler(Exception, _answer_unforeseen)
    server.middleware_stack = server.build_middleware_stack()  # it was built before the app was loaded


def _closed_router() -> APIRouter:
    """Answers 404 where MONAI Label's own routes would do what this app must not."""
    router = APIRouter(include_in_schema=False)

    def closed(request: Request) -> None:
        raise UserError(f"This app has no {request.url.path}.", HTTPStatus.NOT_FOUND)

    for path in _CLOSED:
        router.add_api_route(path, closed, methods=_METHODS)
    return router


async def _answer_user_error(request: Request, error: Any) -> JSONResponse:
    logger.info("%s %s refused: %s", request.method, request.url.path, error)
    return JSONResponse({"detail": str(error)}, status_code=int(error.status))


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
    detail = f"The server failed at this request ({type(error).__name__}). Its log, logs/app.log, says where."
    return JSONResponse({"detail": detail}, status_code=500)
