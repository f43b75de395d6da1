"""DICOMweb routes under ``/proxy/dicom`` for a folder, served by the folder's client."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydicom import Dataset

from lib.datastore.catalog import SeriesCatalog
from lib.datastore.object_senders import ObjectSenders
from lib.dicomweb import multipart, resources
from lib.dicomweb.dicom_file import NotUsableError
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.request_parameters import frame_numbers, search_arguments
from lib.errors import UserError, in_one_line
from lib.server.stored_by import Stored, stored_by_user
from lib.server.stow_requests import received_instances
from lib.server.study_views import restricted_view
from lib.server.visible_dicom import search_visible, visible_items
from lib.storage.json_values import finite

_DICOM_JSON = "application/dicom+json"


def folder_router(
    client: FolderClient,
    uploads: Path,
    catalog: SeriesCatalog | None = None,
    senders: ObjectSenders | None = None,
) -> APIRouter:
    """Return the QIDO-RS, WADO-RS and STOW-RS routes (PS3.18 chapter 10) over ``client``.

    OHIF uses ``/proxy/dicom/qido`` and ``/proxy/dicom/wado``; both have the same resources.

    Args:
        client: Client of the folder.
        uploads: Folder for the bodies of STOW-RS requests.
        catalog: The series of the server, to which a reader study restricts its users; not needed without one.
        senders: Keeps who stored which objects.
    """
    router = APIRouter(
        prefix="/proxy/dicom/{service}",
        include_in_schema=False,
    )

    def route(resource: resources.Resource) -> Callable[[Callable], Callable]:
        return router.api_route(f"/{resource.path}", methods=[resource.method])

    def found(request: Request, search: Callable[..., Any]) -> Response:
        arguments = search_arguments(request.query_params)
        return _dicom_json(search_visible(restricted_view(request), catalog, arguments, search))

    @route(resources.STUDIES)
    def studies(request: Request) -> Response:
        return found(request, client.search_for_studies)

    @route(resources.ALL_SERIES)
    def all_series(request: Request) -> Response:
        return found(request, client.search_for_series)

    @route(resources.ALL_INSTANCES)
    def all_instances(request: Request) -> Response:
        return found(request, client.search_for_instances)

    @route(resources.SERIES)
    def series(request: Request, study: str) -> Response:
        return found(request, partial(client.search_for_series, study))

    @route(resources.STUDY_INSTANCES)
    def study_instances(request: Request, study: str) -> Response:
        return found(request, partial(client.search_for_instances, study))

    @route(resources.SERIES_INSTANCES)
    def series_instances(request: Request, study: str, series: str) -> Response:
        return found(request, partial(client.search_for_instances, study, series))

    @route(resources.STUDY_METADATA)
    def study_metadata(request: Request, study: str) -> Response:
        instances = visible_items(restricted_view(request), catalog, client.retrieve_study_metadata(study))
        return _dicom_json(_known(instances, f"study {study}"))

    @route(resources.SERIES_METADATA)
    def series_metadata(study: str, series: str) -> Response:
        return _dicom_json(_known(client.retrieve_series_metadata(study, series), f"series {series}"))

    @route(resources.INSTANCE_METADATA)
    def instance_metadata(study: str, series: str, instance: str) -> Response:
        return _dicom_json([_found(client.retrieve_instance_metadata, study, series, instance)])

    @route(resources.RETRIEVE_SERIES)
    def retrieve_series(study: str, series: str) -> Response:
        return _dicom_files(_known(client.retrieve_series(study, series), f"series {series}"))

    @route(resources.RETRIEVE_INSTANCE)
    def retrieve_instance(study: str, series: str, instance: str) -> Response:
        return _dicom_files([_found(client.retrieve_instance, study, series, instance)])

    @route(resources.RETRIEVE_FRAMES)
    def retrieve_frames(request: Request, study: str, series: str, instance: str, frames: str) -> Response:
        numbers = frame_numbers(frames)
        syntax, contents = _found(client.retrieve_frames, study, series, instance, numbers)
        content_type = f"application/octet-stream; transfer-syntax={syntax}"
        if len(contents) == 1 and request.headers.get("accept", "").startswith("application/octet-stream"):
            return Response(contents[0], media_type=content_type)
        body, media_type = multipart.encode(contents, content_type)
        return Response(body, media_type=media_type)

    @route(resources.STORE)
    @route(resources.STORE_IN_STUDY)
    async def store(request: Request, study: str | None = None) -> Response:
        async with received_instances(request, uploads) as received:
            store = partial(_store, client, received.parts, study)
            return await run_in_threadpool(stored_by_user, request, received.parts, senders, store)

    return router


def _store(client: FolderClient, parts: list[Path], study: str | None) -> Stored:
    """Store each part, and return the store response with the SOPInstanceUIDs of the stored ones."""
    response = client.store_files(parts, study)
    failures, stored = response.get("FailedSOPSequence") or [], response.get("ReferencedSOPSequence") or []
    status = HTTPStatus.OK if not failures else HTTPStatus.ACCEPTED if stored else HTTPStatus.CONFLICT
    answer = JSONResponse(finite(response.to_json_dict()), status, media_type=_DICOM_JSON)
    return answer, [str(one.ReferencedSOPInstanceUID) for one in stored]


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
        except Exception as error:  # pydicom raises many types on invalid values
            raise NotUsableError(f"the instance cannot be sent ({in_one_line(error)})") from error
        contents.append(buffer.getvalue())
    body, media_type = multipart.encode(contents, "application/dicom")
    return Response(body, media_type=media_type)
