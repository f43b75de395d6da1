"""``/model`` routes: upload weights as a new version, and choose the version in use.

No version is ever overwritten or removed.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Depends, File, UploadFile
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User

from lib.errors import UserError
from lib.networks.weights import check_usable
from lib.server.app_protocol import LungLabelApp
from lib.server.requests import stored_upload

_ADMIN = RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN)
_LONGEST_NAME = 100


def model_router(app: LungLabelApp) -> APIRouter:
    """Return the routes of the model versions of ``app``. Downloads are left to MONAI Label."""
    router = APIRouter(prefix="/model", tags=["Model"])

    @router.put("/{model}", summary="Upload weights as a new version that is not in use yet")
    def upload(model: str, file: UploadFile = File(...), user: User = Depends(_ADMIN)) -> dict[str, Any]:
        _check_model(app, model)
        with stored_upload(file, app.uploads_dir) as path:
            try:
                check_usable(app.task_config.network, path)
            except UserError as error:
                raise UserError(f"The file has no usable weights of this network. {error}") from error
            version = app.models.keep(path, {"uploaded_by": user.username, "file": file.filename})
        return {
            "version": version,
            "model_version": app.models.serving_version(),
            "detail": f"The weights are kept as version {version}, which is not in use. To compare it with the one in "
            f'use: POST /train/{model} with {{"compare": "{version}"}}. To use it: "Use it" in OHIF\'s panel, or '
            f"POST /model/{model}/serve?version={version}.",
        }

    @router.post("/{model}/serve", summary="Use another version")
    def serve(model: str, version: str, by: str = "", user: User = Depends(_ADMIN)) -> dict[str, Any]:
        _check_model(app, model)
        who = (
            user.username if settings.MONAI_LABEL_AUTH_ENABLE else " ".join(by.split())[:_LONGEST_NAME] or user.username
        )
        try:
            app.models.serve(version, by=who, why="chosen in the viewer or by request")
        except LookupError as error:
            raise UserError(str(error), HTTPStatus.NOT_FOUND) from error
        return {"model_version": app.models.serving_version(), "previous": app.models.previous_version()}

    @router.delete("/{model}", summary="Not supported", dependencies=[Depends(_ADMIN)])
    def delete(model: str) -> None:
        _check_model(app, model)
        raise UserError("Models are never removed by this server. To stop using a version, choose another one.")

    return router


def _check_model(app: LungLabelApp, model: str) -> None:
    if model not in app.info()["models"]:
        raise UserError(f"There is no model {model!r}.", HTTPStatus.NOT_FOUND)
