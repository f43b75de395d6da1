"""DICOMweb under ``/proxy/dicom`` for a folder: what OHIF asks of a PACS, answered by the folder's client."""

from __future__ import annotations

import io
import re
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC
from pydicom import Dataset

from lib.dicomweb import multipart
from lib.dicomweb.dicom_file import NotUsableError, read_dicom
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError, in_one_line
from lib.json_values import finite

_DICOM_JSON = "application/dicom+json"
_NUMBER = re.compile(r"[0-9]{1,9}")
_QUERY_WORDS = ("limit", "offset", "includefield", "fuzzymatching")


def folder_router(client: FolderClient) -> APIRouter:
    """QIDO-RS, WADO-RS and STOW-RS (PS3.18 chapter 10) over ``client``.

    OHIF asks under ``/proxy/dicom/qido`` and ``/proxy/dicom/wado``; both reach the same resources.
    """
    router = APIRouter(
        prefix="/proxy/dicom/{service}",
        include_in_schema=False,
        dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))],
    )

    @router.get("/studies")
    def studies(request: Request) -> Response:
        return _dicom_json(client.search_for_studies(**_query(request)))

    @router.get("/series")
    def all_series(request: Request) -> Response:
        return _dicom_json(client.search_for_series(**_query(request)))

    @router.get("/instances")
    def all_instances(request: Request) -> Response:
        return _dicom_json(client.search_for_instances(**_query(request)))

    @router.get("/studies/{study}/series")
    def series(request: Request, study: str) -> Response:
        return _dicom_json(client.search_for_series(study, **_query(request)))

    @router.get("/studies/{study}/instances")
    def study_instances(request: Request, study: str) -> Response:
        return _dicom_json(client.search_for_instances(study, **_query(request)))

    @router.get("/studies/{study}/series/{series}/instances")
    def series_instances(request: Request, study: str, series: str) -> Response:
        return _dicom_json(client.search_for_instances(study, series, **_query(request)))

    @router.get("/studies/{study}/metadata")
    def study_metadata(study: str) -> Response:
        return _dicom_json(_known(client.retrieve_study_metadata(study), f"study {study}"))

    @router.get("/studies/{study}/series/{series}/metadata")
    def series_metadata(study: str, series: str) -> Response:
        return _dicom_json(_known(client.retrieve_series_metadata(study, series), f"series {series}"))

    @router.get("/studies/{study}/series/{series}/instances/{instance}/metadata")
    def instance_metadata(study: str, series: str, instance: str) -> Response:
        return _dicom_json([_found(client.retrieve_instance_metadata, study, series, instance)])

    @router.get("/studies/{study}/series/{series}")
    def retrieve_series(study: str, series: str) -> Response:
        return _dicom_files(_known(client.retrieve_series(study, series), f"series {series}"))

    @router.get("/studies/{study}/series/{series}/instances/{instance}")
    def retrieve_instance(study: str, series: str, instance: str) -> Response:
        return _dicom_files([_found(client.retrieve_instance, study, series, instance)])

    @router.get("/studies/{study}/series/{series}/instances/{instance}/frames/{frames}")
    def retrieve_frames(request: Request, study: str, series: str, instance: str, frames: str) -> Response:
        if not all(number.isdigit() for number in frames.split(",")):
            raise UserError(f"Frames are numbers from 1, separated by commas, not {frames!r}.")
        numbers = [int(number) for number in frames.split(",")]
        syntax, contents = _found(client.retrieve_frames, study, series, instance, numbers)
        content_type = f"application/octet-stream; transfer-syntax={syntax}"
        if len(contents) == 1 and request.headers.get("accept", "").startswith("application/octet-stream"):
            return Response(contents[0], media_type=content_type)
        body, media_type = multipart.encode(contents, content_type)
        return Response(body, media_type=media_type)

    @router.post("/studies")
    @router.post("/studies/{study}")
    async def store(request: Request, study: str | None = None) -> Response:
        body = await request.body()
        return _store(client, body, request.headers.get("content-type", ""))

    return router


def _store(client: FolderClient, body: bytes, content_type: str) -> Response:
    try:
        parts = multipart.decode(body, content_type) if "multipart" in content_type else [body]
        datasets = [read_dicom(part) for part in parts]
        response = client.store_instances(datasets)
    except Exception as error:  # whatever pydicom makes of a foreign body: the sender has to mend it
        raise UserError(f"The body is not DICOM that can be stored: {in_one_line(error)}") from error
    return _dicom_json(response.to_json_dict())


def _query(request: Request) -> dict[str, Any]:
    """Turn a QIDO-RS query string into the arguments of a client's search."""
    parameters = request.query_params
    for name in ("limit", "offset"):
        if name in parameters and not _NUMBER.fullmatch(parameters[name]):
            raise UserError(f"{name} must be a number of up to nine digits, not {parameters[name][:40]!r}.")
    return {
        "limit": int(parameters["limit"]) if "limit" in parameters else None,
        "offset": int(parameters["offset"]) if "offset" in parameters else None,
        "fuzzymatching": parameters.get("fuzzymatching") == "true",
        "search_filters": {name: value for name, value in parameters.items() if name not in _QUERY_WORDS},
    }


def _found(retrieve: Any, *arguments: Any) -> Any:
    try:
        return retrieve(*arguments)
    except (LookupError, NotUsableError) as error:
        raise UserError(str(error), HTTPStatus.NOT_FOUND) from error


def _known(instances: list[Any], what: str) -> list[Any]:
    if not instances:
        raise UserError(f"There is no {what}.", HTTPStatus.NOT_FOUND)
    return instances


def _dicom_json(content: Any) -> Response:
    return JSONResponse(finite(content), media_type=_DICOM_JSON)


def _dicom_files(datasets: list[Dataset]) -> Response:
    contents = []
    for dataset in datasets:
        buffer = io.BytesIO()
        try:
            dataset.save_as(buffer, write_like_original=False)
        except Exception as error:  # pydicom raises many kinds on values that are none
            raise NotUsableError(f"the instance cannot be sent ({in_one_line(error)})") from error
        contents.append(buffer.getvalue())
    body, media_type = multipart.encode(contents, "application/dicom")
    return Response(body, media_type=media_type)
