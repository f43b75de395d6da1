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
from lib.datastore.label_info import author_of, info_of_submission
from lib.datastore.stored_labels import described_label
from lib.errors import UserError
from lib.exports.formats import ExportFormat
from lib.exports.lesion_table import as_csv, as_json
from lib.reading.asked import incomplete_text
from lib.reading.stored_readings import INCOMPLETE
from lib.reading.views import View
from lib.server.app_protocol import LungLabelApp
from lib.server.current_user import current_user, is_logged_in
from lib.server.dicom_response import dicom_response
from lib.server.empty_labels import CONFIRM, EmptyLabels
from lib.server.requests import json_object, stored_upload
from lib.server.seen_labels import number_in_use
from lib.server.stored_labels import check_begun_from
from lib.server.study_views import current_view, progress_of

_FINAL = DefaultLabelTag.FINAL.value
_CHECKSUMS = ("SHA256", "SHA512", "MD5")


def datastore_router(app: LungLabelApp) -> APIRouter:
    """Return the routes of the datastore of ``app``."""
    router = APIRouter(prefix="/datastore", tags=["Datastore"])
    empty_labels = EmptyLabels()

    def view_of(request: Request) -> View:
        return current_view(request, app.datastore().labels)

    @router.get("/", summary="Images and labels")
    def datastore(request: Request, output: stock.ResultType | None = None) -> Any:
        view = view_of(request)
        return _visible_datastore(view, app, output) if view.restricted else stock.datastore(output)

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
        patient = app.datastore().series(image).value("PatientID")
        view, is_final = view_of(http), tag in ("", _FINAL)
        if is_final and not view.restricted:
            info = {**app.seen_labels.begun_from(http, image), **info}
        submitted = view.submission(image, tag or _FINAL, info, patient)

        def check() -> None:
            unseen = is_final and not view.restricted and app.seen_labels.unseen(http, image, view.labels)
            if is_final and "begun_from" in info:
                try:
                    check_begun_from(view.labels, image, info["begun_from"])
                except UserError:
                    app.seen_labels.see(http, image, number_in_use(view.labels, image))  # only now, by the error
                    raise
            elif unseen:
                app.seen_labels.see(http, image, unseen.number)
                raise UserError(
                    f"Label {unseen.number} by {author_of(unseen.info) or 'unknown'} was submitted, which you have not "
                    "loaded. Look at it, and submit again to replace it.",
                    HTTPStatus.CONFLICT,
                )

        with stored_upload(label, app.uploads_dir) as path:
            try:
                record = app.datastore().store_label(
                    image,
                    str(path),
                    submitted.tag,
                    submitted.info,
                    allow_empty=allow_empty,
                    seen=submitted.seen,
                    note=submitted.note,
                    check=check,
                )
            except EmptyLabelError:
                empty_labels.refused(submission)
                raise
        app.on_save_label(image, record.image_id)
        if is_final:
            app.seen_labels.see(http, image, record.number)
        missing = view.labels.history(image)[-1].info.get(INCOMPLETE) if submitted.note else None
        return {"image": image, "label": record.image_id, **({"detail": incomplete_text(missing)} if missing else {})}

    @router.get("/label", summary="Download the latest label")
    def download_label(
        request: Request, label: str, tag: str = _FINAL, output: ExportFormat = ExportFormat.nifti
    ) -> Response:
        view = view_of(request)
        labels, record = view.labels, view.labels.latest(label, tag)
        if tag == _FINAL and output == ExportFormat.nifti:
            app.seen_labels.see(request, label, record.number)
        else:  # an export is not what the user goes on from
            app.seen_labels.begin(request, label, labels)
        if view.restricted and output != ExportFormat.nifti:  # others name the author and the number among all labels
            raise UserError("In a reader study, labels are downloaded with output=nifti only.", HTTPStatus.FORBIDDEN)
        if output == ExportFormat.nifti:
            headers = {"Content-Disposition": f'attachment; filename="{label}.nii.gz"'}
            content = labels.content(record)
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
    def check_label(request: Request, label: str, tag: str = _FINAL) -> Any:
        labels = view_of(request).labels
        labels.content(labels.latest(label, tag))  # raises if there is none, or if it is damaged
        return {}

    @router.get("/label/info", summary="Information of the latest label")
    def label_info(request: Request, label: str, tag: str = _FINAL) -> dict[str, Any]:
        return described_label(view_of(request).labels, label, tag)

    @router.get("/image", summary="Download an image as a volume")
    def download_image(request: Request, image: str) -> FileResponse:
        app.seen_labels.begin(request, image, view_of(request).labels)
        return stock.download_image(image)

    @router.get("/image/info", summary="DICOM attributes of an image and notes on it")
    def image_info(request: Request, image: str) -> dict[str, Any]:
        return app.datastore().image_attributes(image) if view_of(request).restricted else stock.get_image_info(image)

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


def _visible_datastore(view: View, app: LungLabelApp, output: stock.ResultType | None) -> dict[str, Any]:
    """Return the images and labels that a user of a reader study may see, in MONAI Label's format."""
    datastore = app.datastore()
    if output == stock.ResultType.train:
        raise UserError("The data for trainings is not part of a reader study.", HTTPStatus.FORBIDDEN)
    if output != stock.ResultType.all:
        return progress_of(view, datastore)
    objects = {
        image: {
            "image": {"ext": ".nrrd", "info": datastore.image_attributes(image)},
            "labels": {
                tag: {"ext": ".nii.gz", "info": described_label(view.labels, image, tag)}
                for tag in view.labels.current(image)
            },
        }
        for image in view.images(datastore.list_images())
    }
    return {"name": datastore.name(), "description": datastore.description(), "objects": objects}


def _signed(params: dict[str, Any], user: User) -> dict[str, Any]:
    """Return the parameters of a submission with who is logged in as annotator."""
    return {**_unsigned(params, user), "annotator": user.username} if is_logged_in(user) else params


def _unsigned(params: dict[str, Any], user: User) -> dict[str, Any]:
    """Return the parameters without the annotator that a client names, which is kept only as what was typed."""
    if not is_logged_in(user) or params.get("annotator") in (None, user.username):
        return {name: value for name, value in params.items() if not (is_logged_in(user) and name == "annotator")}
    return {("typed_annotator" if name == "annotator" else name): value for name, value in params.items()}
