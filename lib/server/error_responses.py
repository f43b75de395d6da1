"""Error responses of the server: a status and one sentence."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import requests
from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from starlette.exceptions import HTTPException

from lib.datastore.image_writing import NO_ROOM
from lib.dicomweb.dicom_file import NotUsableError
from lib.errors import UserError
from lib.storage.json_values import finite

logger = logging.getLogger(__name__)

_CLIENT_ERRORS = (MONAILabelError.INVALID_INPUT, MONAILabelError.APP_INIT_ERROR)


def add_error_responses(server: FastAPI) -> None:
    """Register the exception handlers of this module at ``server``."""
    server.add_exception_handler(UserError, _handle_user_error)
    server.add_exception_handler(HTTPException, handle_http_error)
    server.add_exception_handler(RequestValidationError, _handle_invalid)
    server.add_exception_handler(NotUsableError, _handle_not_usable)
    server.add_exception_handler(MONAILabelException, _handle_monailabel_error)
    server.add_exception_handler(requests.RequestException, _handle_pacs_unreachable)
    server.add_exception_handler(OSError, _handle_os_error)
    server.add_exception_handler(Exception, _handle_unexpected)


async def _handle_user_error(request: Request, error: Any) -> JSONResponse:
    logger.info("%s %s refused: %s", request.method, request.url.path, error)
    return JSONResponse({"detail": str(error)}, status_code=int(error.status))


async def handle_http_error(request: Request, error: Any) -> Response:
    """Return the response for an HTTPException; one without a text gets a sentence."""
    if isinstance(error.__cause__, OSError):  # while a body was spooled to disk
        return await _handle_os_error(request, error.__cause__)
    if error.status_code in (404, 405) and error.detail == HTTPStatus(error.status_code).phrase:
        what = request.url.path if error.status_code == 404 else f"{request.method} {request.url.path}"
        error = HTTPException(error.status_code, f"This app has no {what}.", error.headers)
    return await http_exception_handler(request, error)


async def _handle_invalid(request: Request, error: Any) -> JSONResponse:
    """Return the response for invalid parameters, without their values: FastAPI's repeats them, JSON or not."""
    errors = [{name: one[name] for name in ("loc", "msg", "type")} for one in error.errors()]
    return JSONResponse({"detail": finite(errors)}, status_code=422)


async def _handle_not_usable(request: Request, error: Any) -> JSONResponse:
    return await _handle_user_error(
        request, UserError(f"A file cannot be used: {error}.", HTTPStatus.UNPROCESSABLE_ENTITY)
    )


async def _handle_monailabel_error(request: Request, error: Any) -> JSONResponse:
    status = 400 if error.error in _CLIENT_ERRORS else 500
    return JSONResponse({"detail": error.msg}, status_code=status)


async def _handle_pacs_unreachable(request: Request, error: Any) -> JSONResponse:
    detail = f"The PACS did not respond ({type(error).__name__}). Try again when it is running and reachable."
    return await _handle_user_error(request, UserError(detail, HTTPStatus.SERVICE_UNAVAILABLE))


async def _handle_os_error(request: Request, error: Any) -> JSONResponse:
    if error.errno not in NO_ROOM:
        return await _handle_unexpected(request, error)
    logger.error("%s %s: %s", request.method, request.url.path, error)
    detail = (
        f"Nothing was stored: the server cannot write to its disk ({error.strerror}). Free some space and try again."
    )
    return JSONResponse({"detail": detail}, status_code=507)


async def _handle_unexpected(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    detail = f"The server failed at this request ({type(error).__name__}). See logs/app.log in the workspace."
    return JSONResponse({"detail": detail}, status_code=500)
