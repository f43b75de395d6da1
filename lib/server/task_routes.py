"""``/info``, ``/activelearning``, ``/train``, ``/scoring``: MONAI Label's own functions, run in the thread pool."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from monailabel.endpoints import activelearning, batch_infer, scoring
from monailabel.endpoints import train as stock_train
from monailabel.endpoints.user.auth import User
from pydantic import AfterValidator

from lib.activelearning.asker import Asker
from lib.errors import UserError
from lib.reading.views import View
from lib.server.app_protocol import LungLabelApp
from lib.server.current_user import current_user, may_review, session_of
from lib.server.saved_masks import check_saving, signed
from lib.server.study_views import progress_of, restricted_view
from lib.settings import check_request
from lib.storage.json_values import check_sendable

_NOT_FOUND = HTTPStatus.NOT_FOUND
_BATCH_DEFAULTS = {"device": "cuda", "save_label": True, "label_tag": "original", "max_workers": 1}
_NAMES = ("model", "method", "strategy", "client_id")  # MONAI Label uses them as dict keys


def _sendable(params: dict[str, Any]) -> dict[str, Any]:
    check_sendable(params)
    for name in _NAMES:
        if not isinstance(params.get(name, ""), str | None):
            raise UserError(f"{name} must be a name, not {params[name]!r}.")
    return params


# They are returned with the status of the task: values that JSON cannot hold would break every such response.
_Params = Annotated[dict[str, Any], AfterValidator(_sendable)]


def _not_sync(run_sync: bool) -> bool:
    if run_sync:
        raise UserError(
            "run_sync is not supported: it would block a request thread for as long as the task runs. "
            "Start the task without it, and get its status from GET /train/, /scoring/ or /batch/infer/."
        )
    return run_sync


_NeverSync = Annotated[bool, AfterValidator(_not_sync)]


def task_router(app: LungLabelApp) -> APIRouter:
    """Return the task routes of ``app``."""
    router = APIRouter()

    @router.get("/info/", tags=["App"], summary="Models, strategies and status")
    def info(request: Request) -> dict[str, Any]:
        view = restricted_view(request)
        if view is None:
            return app.info()
        return {**app.info(), "datastore": progress_of(view, app.datastore()), "trainers": {}, "train_stats": {}}

    @router.post("/activelearning/{strategy}", tags=["ActiveLearning"], summary="The next image to label")
    def next_sample(
        request: Request, strategy: str, params: _Params | None = None, user: User = Depends(current_user)
    ) -> dict[str, Any]:
        if view := restricted_view(request):
            return _next_in_study(view, app)
        asker = Asker(
            user=user.username,
            address=request.client.host if request.client else "",
            reviews=may_review(user),
            session=session_of(request),
        )
        sample: dict[str, Any] = activelearning.sample(strategy, asker.named_in(params or {}), user.username)
        if image := sample.get("id"):
            app.seen_labels.begin(request, image, app.datastore().labels)
        return sample

    @router.post("/train/{model}", tags=["Train"], summary="Train a model")
    def train(model: str, params: _Params | None = None, run_sync: _NeverSync = False, enqueue: bool = False) -> Any:
        trainers = app.info()["trainers"]
        if model not in trainers:
            raise UserError(f"There is no model {model!r}; there is {', '.join(trainers)}.", _NOT_FOUND)
        app.check_trainable(params)
        return stock_train.run_model(model, params, False, enqueue)

    @router.post("/train/", tags=["Train"], summary="Train all models")
    def train_all(params: _Params | None = None, run_sync: _NeverSync = False) -> Any:
        trainers = app.info()["trainers"]
        by_name = _by_name(params, trainers)
        for one in (params, *((params or {}).get(name) for name in trainers)):
            app.check_trainable(one)
        return stock_train.run(by_name)

    @router.post("/scoring/", tags=["Scoring"], include_in_schema=False)
    def score_all(params: _Params | None = None, run_sync: _NeverSync = False) -> Any:
        return scoring.run(_by_name(params, app.info()["scoring"]))

    @router.post("/scoring/{method}", tags=["Scoring"], summary="Score")
    def score(method: str, params: _Params | None = None, run_sync: _NeverSync = False) -> Any:
        methods = app.info()["scoring"]
        if method not in methods:
            raise UserError(f"There is no scoring method {method!r}; there is {', '.join(methods)}.", _NOT_FOUND)
        return scoring.run_method(method, params)

    @router.post("/batch/infer/{model}", tags=["Batch"], summary="Segment all")
    def infer_all(
        model: str,
        images: batch_infer.BatchInferImageType = batch_infer.BatchInferImageType.IMAGES_ALL,
        params: _Params | None = None,
        run_sync: _NeverSync = False,
        user: User = Depends(current_user),
    ) -> Any:
        models = app.info()["models"]
        if model not in models:
            raise UserError(f"There is no model {model!r}; there is {', '.join(models)}.", _NOT_FOUND)
        check_request(app.settings.info, "infer", params or {})
        check_saving((params or {}).get("label_tag"), user)
        return batch_infer.run(model, images, signed(_BATCH_DEFAULTS if params is None else params, user))

    return router


def _next_in_study(view: View, app: LungLabelApp) -> dict[str, Any]:
    """Return the image that a study wants to be read next, as the strategies do; empty if there is none."""
    image = view.next_image(app.datastore().list_images())
    if image is None:
        return {}
    return {"id": image, "path": app.datastore().get_image_uri(image), **app.datastore().image_attributes(image)}


def _by_name(params: dict[str, Any] | None, names: Any) -> dict[str, Any] | None:
    """Return the parameters of all tasks by name after checking them, as MONAI Label expects them."""
    for name in names:
        if params and not isinstance(params.get(name, {}), dict):
            raise UserError(f"The parameters of {name} must be a JSON object, not {params[name]!r}.")
    return params
