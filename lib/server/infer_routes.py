"""``POST /infer``, as requested by OHIF and Slicer, processed in the queue of inferences, of clicks or of previews.

The response has the version of the model, the findings of the mask and warnings about it: ``model_version``,
``findings`` and ``warnings`` in its JSON. A response that is only an image, as OHIF requests it, has them in the header
``Infer-Params``, with the most confident findings only, because proxies limit the size of headers. ``Server-Timing``
says how long the request waited in its queue and how long the work took.

The mask of a whole scan that was computed before is sent again, with what was answered, as long as the model version,
the files of the scan and the settings are the same; ``Server-Timing`` then has ``kept``. With ``fresh`` it is computed.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from enum import Enum
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter
from fastapi import APIRouter, BackgroundTasks, Depends, File, Form, Request, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from monailabel.endpoints.infer import ResultType, send_response
from monailabel.endpoints.user.auth import User

from lib.clicks.prompts import PARAMETERS as CLICK_PARAMETERS
from lib.configs.lung_tumor_click import LungTumorClick
from lib.errors import UserError
from lib.exports.formats import ExportFormat
from lib.inference.findings import findings_from_json
from lib.reading.stored_readings import check_label_tag
from lib.server.app_protocol import LungLabelApp
from lib.server.current_user import current_user, turn_of
from lib.server.dicom_response import dicom_response
from lib.server.finished_inferences import InferenceKey
from lib.server.requests import json_object, uploaded_volume
from lib.server.saved_masks import check_saving, signed
from lib.server.session_routes import session_of
from lib.server.study_views import restricted_view
from lib.server.work_queue import DoneMeanwhileError, Durations, WorkQueue
from lib.settings import check_request

_PARAMS_HEADER = "Infer-Params"
_HEADER_PARAMS = ("model_version", "findings", "warnings")
_AT_ONCE = 2  # finished inferences looked up or sent: each takes a thread of all routes, and the memory of a scan
_MOST_FINDINGS = 40  # in the header: about 2 kB; nginx refuses a response with more than 4 kB of headers

# Parameters of a request besides the settings of `config.infer` and clicks; all others are ignored.
_PARAMETERS = (
    *("device", "result_extension", "result_compress", "save_label", "label_tag", "client_id"),
    "preview",  # of a click that the user has not set yet
    "fresh",  # to compute an inference that is finished already
)


class InferOutput(str, Enum):
    """Parts of the answer: MONAI Label's names, and those of :class:`lib.exports.formats.ExportFormat`."""

    image = "image"
    json = "json"
    dicom_seg = "dicom_seg"
    all = "all"

    @classmethod
    def _missing_(cls, value: object) -> InferOutput | None:
        return {ExportFormat.nifti.value: cls.image, ExportFormat.seg.value: cls.dicom_seg}.get(str(value))


def infer_router(app: LungLabelApp) -> APIRouter:
    """Return the inference route of ``app``."""
    router = APIRouter(tags=["Infer"])
    again = CapacityLimiter(_AT_ONCE)

    @router.post("/infer/{model}", summary="Run inference")
    async def infer(
        http: Request,
        answer: Response,
        background_tasks: BackgroundTasks,
        model: str,
        image: str = "",
        session_id: str = "",
        params: str = Form("{}"),
        file: UploadFile = File(None),
        label: UploadFile = File(None),
        output: InferOutput | None = None,
        user: User = Depends(current_user),
    ) -> Response:
        def accept() -> dict[str, Any]:
            sent = json_object(params)
            if view := restricted_view(http):
                if file or session_id or sent.get("save_label"):
                    raise UserError("A reader study takes no files, sessions and save_label.", HTTPStatus.FORBIDDEN)
                view.check_model(image, by_clicks=model == LungTumorClick.NAME)
            if sent.get("save_label"):
                check_saving(sent.get("label_tag"), user)
            if output == InferOutput.dicom_seg and (file or session_id):
                raise UserError(
                    "A DICOM SEG refers to the images of a series, which an uploaded file does not have. "
                    "Use output=image."
                )
            if output == InferOutput.dicom_seg:
                sent |= {"attention": False, "region": False}
            return _accepted(app, model, sent, image, session_id, user, uploaded=bool(file))

        request = await run_in_threadpool(accept)  # invalid requests fail before they are queued
        queue = _queue(app, request)

        def respond(result: dict[str, Any]) -> Any:
            return _response(app, request, result, output, background_tasks)

        def compute() -> Any:
            if not file:
                return respond(app.infer(request))
            with uploaded_volume(file, app.uploads_dir) as volume:
                return respond(app.infer(request | {"image": str(volume)}))

        def answer_again(key: InferenceKey) -> Any:
            kept = app.infer_again(key, request)
            return kept and respond(kept)

        key = None
        if not (_flag(request, "fresh") or file) and queue is app.queues.inferences:
            async with again:  # a PACS is asked, which may not respond
                key = await run_in_threadpool(app.finished.key, request)
        if key is None:
            result = await queue.run(http, compute, turn_of(http))
        else:
            result = await _once(http, queue, compute, partial(answer_again, key), lambda: key in app.finished, again)
        sent = result if isinstance(result, Response) else answer
        sent.headers["Server-Timing"] = http.state.durations.server_timing
        return result

    return router


def _accepted(
    app: LungLabelApp, model: str, params: dict[str, Any], image: str, session_id: str, user: User, *, uploaded: bool
) -> dict[str, Any]:
    """Return the validated request, as MONAI Label expects it.

    Raises:
        UserError: There is no such model or image, or a parameter is invalid.
    """
    models = app.info()["models"]
    if model not in models:
        raise UserError(f"There is no model {model!r}; there is {', '.join(models)}.", HTTPStatus.NOT_FOUND)
    known = {*app.settings.info["config"]["infer"], *_PARAMETERS, *CLICK_PARAMETERS}
    request = {name: value for name, value in params.items() if name in known}
    check_request(app.settings.info, "infer", request)
    check_label_tag(request.get("label_tag"))
    request = signed({**request, "model": model}, user)
    if uploaded:
        return request
    if session_id:
        return request | {"image": session_of(app, session_id, user).image}
    if not image:
        raise UserError("The image is missing: give ?image=<SeriesInstanceUID>, a session_id, or a file.")
    app.datastore().series(image)
    return request | {"image": image}


def _queue(app: LungLabelApp, request: dict[str, Any]) -> WorkQueue:
    """Return the queue for a request; ``preview`` is that of a click which the user has not set yet."""
    if request["model"] != LungTumorClick.NAME:
        return app.queues.inferences
    return app.queues.previews if _flag(request, "preview") else app.queues.clicks


def _flag(request: dict[str, Any], name: str) -> bool:
    value = request.get(name, False)
    if not isinstance(value, bool):
        raise UserError(f"{name} must be true or false, not {value!r}.")
    return value


async def _once(
    http: Request,
    queue: WorkQueue,
    compute: Callable[[], Any],
    answer_again: Callable[[], Any],
    is_finished: Callable[[], bool],
    limiter: CapacityLimiter,
) -> Any:
    """Return the answer with a finished inference; it may be finished for another request while this one waits.

    Args:
        http: The request, whose ``state.durations`` is set.
        queue: Queue of the inferences.
        compute: Computes the inference and returns the answer.
        answer_again: Returns the answer with the finished inference; None without one.
        is_finished: Returns whether there is one.
        limiter: Limits the answers with finished inferences at a time.
    """
    arrived = time.monotonic()
    while True:
        async with limiter:
            began = time.monotonic()
            again = await run_in_threadpool(answer_again)
        if again is not None:
            http.state.durations = Durations(began - arrived, time.monotonic() - began, kept=True)
            return again
        with contextlib.suppress(DoneMeanwhileError):
            return await queue.run(http, compute, turn_of(http), is_finished)


def _response(
    app: LungLabelApp,
    request: dict[str, Any],
    result: dict[str, Any],
    output: InferOutput | None,
    tasks: BackgroundTasks,
) -> Any:
    if output == InferOutput.dicom_seg:
        return _dicom_seg(app, request, result)
    if not result.get("file"):  # a region, which is in the JSON
        output = InferOutput.json
    response = send_response(app.datastore(), result, ResultType((output or InferOutput.all).value), tasks)
    if isinstance(response, Response):
        params = {name: result["params"].get(name) for name in _HEADER_PARAMS}
        response.headers[_PARAMS_HEADER] = json.dumps(params | {"findings": _in_header(params["findings"])})
    return response


def _in_header(findings: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Return the findings for the header, which are sorted by confidence, with less precise values."""
    return [
        {**finding, "confidence": finding["confidence"] and round(finding["confidence"], 4)}
        for finding in (findings or ())[:_MOST_FINDINGS]
    ]


def _dicom_seg(app: LungLabelApp, request: dict[str, Any], result: dict[str, Any]) -> Response:
    mask = Path(result["file"])
    try:
        params = result["params"]
        findings = findings_from_json(params["findings"])
        seg = app.exports.dicom_seg_of_prediction(request["image"], mask, params["model_version"], findings)
        return dicom_response(seg)
    finally:
        mask.unlink(missing_ok=True)
