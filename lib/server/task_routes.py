"""``/info``, ``/activelearning`` and ``/train``: MONAI Label's own functions, off the event loop."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Depends
from monailabel.config import settings
from monailabel.endpoints import activelearning
from monailabel.endpoints import train as stock_train
from monailabel.endpoints.user.auth import RBAC, User

from lib.errors import UserError

_USER = RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER)
_ADMIN = RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN)


def task_router(app: Any) -> APIRouter:
    """The routes over ``app``, this app."""
    router = APIRouter()

    @router.get("/info/", tags=["App"], summary="What this app is and how it is doing", dependencies=[Depends(_USER)])
    def info() -> dict[str, Any]:
        return app.info()

    @router.post("/activelearning/{strategy}", tags=["ActiveLearning"], summary="The next image to label")
    def next_sample(strategy: str, params: dict[str, Any] | None = None, user: User = Depends(_USER)) -> dict[str, Any]:
        return activelearning.sample(strategy, params, user.username)

    @router.post("/train/{model}", tags=["Train"], summary="Train a model", dependencies=[Depends(_ADMIN)])
    def train(model: str, params: dict[str, Any] | None = None, run_sync: bool = False, enqueue: bool = False) -> Any:
        trainers = app.info()["trainers"]
        if model not in trainers:
            raise UserError(f"There is no model {model!r}; there is {', '.join(trainers)}.", HTTPStatus.NOT_FOUND)
        app.check_trainable()
        return stock_train.run_model(model, params, run_sync, enqueue)

    return router
