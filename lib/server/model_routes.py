"""``/model`` routes: upload weights as a new version, and choose the version in use.

No version is ever overwritten or removed.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, File, UploadFile
from monailabel.endpoints.user.auth import User

from lib.errors import UserError
from lib.inference.candidate_judge import judge_in
from lib.networks.weights import check_usable
from lib.publishing import ModelStore
from lib.server.app_protocol import LungLabelApp, ModelConfig
from lib.server.current_user import author, current_user
from lib.server.requests import stored_upload
from lib.storage.integrity import sha256_of


def model_router(app: LungLabelApp) -> APIRouter:
    """Return the routes of the model versions of ``app``. Downloads are left to MONAI Label."""
    router = APIRouter(prefix="/model", tags=["Model"])

    @router.put("/{model}", summary="Upload weights as a new version that is not in use yet")
    def upload(model: str, file: UploadFile = File(...), user: User = Depends(current_user)) -> dict[str, Any]:
        config = _config(app, model)
        with stored_upload(file, app.uploads_dir) as path:
            try:
                check_usable(config.network, path)
                judge_in(path.read_bytes(), "in the file")
            except UserError as error:
                raise UserError(f"The file has no usable weights of this network. {error}") from error
            origin = _training_of(config.store, path)
            version = config.store.keep(path, {**origin, "uploaded_by": user.username, "file": file.filename})
        return {
            "version": version,
            "model_version": config.store.serving_version(),
            "detail": f"The weights are kept as version {version}, which is not in use. To compare it with the one in "
            f'use: POST /train/{model} with {{"compare": "{version}"}}. To use it: "Use it" in OHIF\'s panel, or '
            f"POST /model/{model}/serve?version={version}.",
        }

    @router.post("/{model}/serve", summary="Use another version")
    def serve(model: str, version: str, by: str = "", user: User = Depends(current_user)) -> dict[str, Any]:
        store = _config(app, model).store
        try:
            store.serve(version, by=author(user, by), why="chosen in the viewer or by request")
        except LookupError as error:
            raise UserError(str(error), HTTPStatus.NOT_FOUND) from error
        return {"model_version": store.serving_version(), "previous": store.previous_version()}

    @router.delete("/{model}", summary="Not supported")
    def delete(model: str) -> None:
        _config(app, model)
        raise UserError("Models are never removed by this server. To stop using a version, choose another one.")

    return router


def _training_of(store: ModelStore, weights: Path) -> dict[str, Any]:
    """Return the patients that weights were trained on if they are those of a version, downloaded from here."""
    sha256 = sha256_of(weights)
    same = next((one for one in store.manifests() if one.get("sha256") == sha256), {})
    return {name: same[name] for name in ("trained_on", "folds") if name in same}


def _config(app: LungLabelApp, model: str) -> ModelConfig:
    if model not in app.configs:
        raise UserError(f"There is no model {model!r}; there is {', '.join(app.configs)}.", HTTPStatus.NOT_FOUND)
    return app.configs[model]
