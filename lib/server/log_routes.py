"""``/logs`` routes: MONAI Label's own, run in the thread pool, with an error message if there is no output."""

from __future__ import annotations

import subprocess
from http import HTTPStatus

from fastapi import APIRouter, Query
from fastapi.responses import Response
from monailabel.endpoints import logs as stock

from lib.errors import UserError
from lib.server.log_file import log_path

_MOST_LINES = 100_000


def log_router() -> APIRouter:
    """Return the routes of the server's log and of nvidia-smi."""
    router = APIRouter(prefix="/logs", tags=["Others"])

    @router.get("/", summary="The last lines of the server's log")
    def logs(lines: int = Query(300, ge=1, le=_MOST_LINES)) -> Response:
        # MONAI Label's page around the lines loads scripts from public hosts.
        return stock.get_logs(str(log_path()), lines, False, True, 0)

    @router.get("/gpu", summary="Output of nvidia-smi")
    def gpu() -> Response:
        try:
            output = subprocess.run(["nvidia-smi"], capture_output=True, timeout=30, check=True).stdout
        except (OSError, subprocess.SubprocessError) as error:
            raise UserError(
                f"nvidia-smi does not work on this machine ({type(error).__name__}): it may have no NVIDIA GPU.",
                HTTPStatus.NOT_FOUND,
            ) from error
        return Response(output, media_type="text/plain")

    return router
