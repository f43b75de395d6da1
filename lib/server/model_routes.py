"""``/model``: weights sent by a user become a version of their own; none is ever overwritten or removed."""

from __future__ import annotations

import copy
from http import HTTPStatus
from typing import Any

import torch
from fastapi import APIRouter, Depends, File, UploadFile
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User

from lib.errors import UserError, in_one_line
from lib.server.requests import kept_upload

_ADMIN = RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN)


def model_router(app: Any) -> APIRouter:
    """The routes over the model versions of ``app``, this app. Downloads stay MONAI Label's."""
    router = APIRouter(prefix="/model", tags=["Model"])

    @router.put("/{model}", summary="Publish weights")
    def upload(model: str, file: UploadFile = File(...), user: User = Depends(_ADMIN)) -> dict[str, Any]:
        _known(app, model)
        with kept_upload(file, app.uploads_dir) as path:
            try:
                weights = torch.load(path, map_location="cpu", weights_only=True)
                copy.deepcopy(app.task_config.network).load_state_dict(weights.get("model", weights))
            except Exception as error:  # torch raises whatever foreign bytes make of it
                raise UserError(f"The file holds no weights of this network ({in_one_line(error)}).") from error
            version = app.models.keep(path, {"uploaded_by": user.username, "file": file.filename})
            app.models.serve(version)
        return {**app.model_info(model), "version": version}

    @router.delete("/{model}", summary="Refused", dependencies=[Depends(_ADMIN)])
    def delete(model: str) -> None:
        _known(app, model)
        raise UserError("Models are never removed by this server: every version stays, and another one can serve.")

    return router


def _known(app: Any, model: str) -> None:
    if model not in app.info()["models"]:
        raise UserError(f"There is no model {model!r}.", HTTPStatus.NOT_FOUND)
