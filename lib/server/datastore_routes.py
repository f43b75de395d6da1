"""``/datastore`` routes: MONAI Label's own functions, run in the thread pool and with validated input."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, BackgroundTasks, Depends, File, Form, Request, UploadFile
from fastapi.responses import FileResponse, Response
from monailabel.endpoints import datastore as stock
from monailabel.endpoints.user.auth import User
from monailabel.interfaces.datastore import DefaultLabelTag

from lib.datastore.empty_label import EmptyLabelError
from lib.datastore.label_info import info_of_submission
from lib.errors import UserError
from lib.exports.formats import ExportFormat
from lib.exports.lesion_table import as_csv, as_json
from lib.server.app_protocol import LungLabelApp
from lib.server.current_user import current_user, is_logged_in
from lib.server.dicom_response import dicom_response
from lib.server.empty_labels import CONFIRM, EmptyLabels
from lib.server.requests import json_object, stored_upload

_FINAL = DefaultLabelTag.FINAL.value
_CHECKSUMS = ("SHA256", "SHA512", "MD5")


def datastore_router(app: LungLabelApp) -> APIRouter:
    """Return the routes of the datastore of ``app``."""
    router = APIRouter(prefix="/datastore", tags=["Datastore"])
    empty_labels = EmptyLabels()

    @router.get("/", summary="Images and labels")
    def datastore(output: stock.ResultType | None = None) -> Any:
        return stock.datastore(output)

    @router.put("/label", summary="Save a label")
    def save_label(
        http: Request,
        image: str,
        params: str = Form("{}"),
        tag: str = _FINAL,
        label: UploadFile = File(...),
        user: User = Depends(current_user),
    ) -> dict[str, Any]:
        sent = json_object(params)
        confirmed = sent.pop(CONFIRM, False) is True
        info = {**info_of_submission(_signed(sent, user)), "user": user.username}
        submission = image, info.get("client_id"), user.username, http.client and http.client.host
        allow_empty = confirmed or tag not in ("", _FINAL) or empty_labels.confirms(submission)
        app.datastore().series(image)
        with stored_upload(label, app.uploads_dir) as path:
            try:
                label_id = app.datastore().save_label(image, str(path), tag or _FINAL, info, allow_empty=allow_empty)
            except EmptyLabelError:
                empty_labels.refused(submission)
                raise
        app.on_save_label(image, label_id)
        return {"image": image, "label": label_id}

    @router.get("/label", summary="Download the latest label")
    def download_label(label: str, tag: str = _FINAL, output: ExportFormat = ExportFormat.nifti) -> Response:
        record = app.datastore().labels.latest(label, tag)
        if output == ExportFormat.nifti:
            headers = {"Content-Disposition": f'attachment; filename="{label}.nii.gz"'}
            content = app.datastore().labels.content(record)
            return Response(content, media_type="application/octet-stream", headers=headers)
        if output == ExportFormat.seg:
            return dicom_response(app.exports.dicom_seg(record))
        if output == ExportFormat.rtstruct:
            return dicom_response(app.exports.rtstruct(record))
        if output in (ExportFormat.sr, ExportFormat.lesion_seg):
            report, seg = app.exports.measurement_report(record)
            if output == ExportFormat.sr:
                return dicom_response(report)
            if seg is None:
                raise UserError("The label has no lesion, so there is no segment to export.", HTTPStatus.NOT_FOUND)
            return dicom_response(seg)
        tables = [app.exports.lesions(record)]
        if output == ExportFormat.csv:
            return Response(as_csv(tables), media_type="text/csv")
        return Response(as_json(tables), media_type="application/json")

    @router.head("/label", summary="Check whether a label exists")
    def check_label(label: str, tag: str = _FINAL) -> Any:
        return stock.download_label(label, tag, check_only=True)

    @router.get("/image", summary="Download an image as a volume")
    def download_image(image: str) -> FileResponse:
        return stock.download_image(image)

    @router.get("/image/info", summary="DICOM attributes of an image and notes on it")
    def image_info(image: str) -> dict[str, Any]:
        return stock.get_image_info(image)

    @router.head("/image", summary="Check whether an image exists")
    def check_image(image: str, check_sum: str | None = None) -> Any:
        if check_sum and ":" in check_sum and check_sum.partition(":")[0] not in _CHECKSUMS:
            raise UserError(f"check_sum must be one of {', '.join(_CHECKSUMS)}, such as SHA256:<hex digits>.")
        return stock.download_image(image, check_only=True, check_sum=check_sum)

    @router.put("/", include_in_schema=False)
    @router.put("/image", summary="Not supported")
    def add_image() -> None:
        app.datastore().add_image("", "", {})

    @router.put("/image/info", summary="Add notes to an image")
    def note_image(image: str, info: str = Form("{}"), user: User = Depends(current_user)) -> None:
        app.datastore().update_image_info(image, {**json_object(info, "info"), "user": user.username})

    @router.put("/label/info", summary="Add notes to a label")
    def note_label(label: str, tag: str, info: str = Form("{}"), user: User = Depends(current_user)) -> None:
        app.datastore().note_label(label, tag, _unsigned(json_object(info, "info"), user), user.username)

    @router.put("/updatelabelinfo", include_in_schema=False)
    def note_label_deprecated(
        label: str, tag: str, params: str = Form("{}"), user: User = Depends(current_user)
    ) -> None:
        app.datastore().note_label(label, tag, _unsigned(json_object(params), user), user.username)

    @router.get(
        "/dataset",
        summary="Download all labelled images as a ZIP archive",
    )
    def download_dataset(background_tasks: BackgroundTasks, limit_cases: int | None = None) -> FileResponse:
        archive = Path(app.datastore().get_dataset_archive(limit_cases))
        background_tasks.add_task(archive.unlink, missing_ok=True)
        return FileResponse(archive, media_type="application/zip", filename="dataset.zip")

    return router


def _signed(params: dict[str, Any], user: User) -> dict[str, Any]:
    """Return the parameters of a submission with who is logged in as annotator."""
    return {**_unsigned(params, user), "annotator": user.username} if is_logged_in(user) else params


def _unsigned(params: dict[str, Any], user: User) -> dict[str, Any]:
    """Return the parameters without the annotator that a client names, which is kept only as what was typed."""
    if not is_logged_in(user) or params.get("annotator") in (None, user.username):
        return {name: value for name, value in params.items() if not (is_logged_in(user) and name == "annotator")}
    return {("typed_annotator" if name == "annotator" else name): value for name, value in params.items()}
