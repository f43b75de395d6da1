"""DICOMweb routes under ``/proxy/dicom`` for a PACS, to which requests are forwarded."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import requests
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse

from lib.datastore.catalog import SeriesCatalog
from lib.datastore.object_senders import ObjectSenders
from lib.dicomweb.login import Login
from lib.dicomweb.pacs_filter import PacsFilter
from lib.dicomweb.pacs_proxy import PacsProxy, PacsRequest
from lib.dicomweb.resources import JSON_RESOURCES
from lib.dicomweb.stow import read_uids
from lib.errors import UserError
from lib.server.access.path_prefix import path_of, raw_path_of
from lib.server.stored_by import Stored, stored_by_user
from lib.server.stow_requests import received_instances
from lib.server.study_views import restricted_view
from lib.server.visible_dicom import visible_items
from lib.server.visible_search import visible_page, visible_query

_RETURNED = ("content-type", "content-length", "content-encoding", "transfer-encoding", "warning")
_DICOM_JSON = "application/dicom+json"


def pacs_router(
    url: str,
    uploads: Path,
    *,
    writable: bool,
    login: Login | None = None,
    hidden: PacsFilter | None = None,
    catalog: SeriesCatalog | None = None,
    senders: ObjectSenders | None = None,
) -> APIRouter:
    """Return the routes that forward requests of viewers to a PACS.

    Args:
        url: DICOMweb root of the PACS.
        uploads: Folder for the bodies of STOW-RS requests.
        writable: Whether STOW-RS requests are forwarded (``store_in_pacs``).
        login: User and password; None for those of MONAI Label's settings.
        hidden: Filter of the responses.
        catalog: The series of the server, to which a reader study restricts its users; not needed without one.
        senders: Keeps who stored which objects.
    """
    proxy = PacsProxy(url, login)
    router = APIRouter(
        prefix="/proxy/dicom",
        include_in_schema=False,
    )

    @router.get("/{service}/{path:path}")
    def retrieve(request: Request, service: str) -> Response:
        checked = _checked(proxy, request)
        if hidden and (reason := hidden.hidden_studies().get(checked.study)):
            raise UserError(f"This study is not shown: {reason}.", HTTPStatus.NOT_FOUND)
        view = restricted_view(request)
        if checked.resource in JSON_RESOURCES and (view is not None or (hidden and hidden.hides_anything())):
            asked = checked if view is None else replace(checked, query=visible_query(checked.resource, checked.query))
            response = proxy.send(asked, accept=_DICOM_JSON)
            if response.status_code != HTTPStatus.OK:
                return _forwarded(response)
            items = hidden.visible(response.json()) if hidden else response.json()
            items = visible_items(view, catalog, items)
            if view is not None:
                items = visible_page(checked.resource, checked.query, items)
            return JSONResponse(items, media_type=_DICOM_JSON)
        return _forwarded(proxy.send(checked))

    @router.post("/{service}/{path:path}")
    async def store(request: Request, service: str) -> Response:
        checked = _checked(proxy, request)
        if not writable:
            raise UserError(
                "This server does not write to the PACS. To allow it, start the server with --conf store_in_pacs true.",
                HTTPStatus.FORBIDDEN,
            )
        async with received_instances(request, uploads) as received:

            def send() -> Stored:
                received.check_classes()
                with received.body.open("rb") as body:
                    answer = proxy.send(checked, body)
                uids = [str(read_uids(part).SOPInstanceUID) for part in received.parts] if answer.ok else []
                return _forwarded(answer), uids

            return await run_in_threadpool(stored_by_user, request, received.parts, senders, send)

    return router


def _checked(proxy: PacsProxy, request: Request) -> PacsRequest:
    scope = request.scope
    return proxy.check(
        request.method, raw_path_of(scope), path_of(scope), scope.get("query_string", b""), request.headers
    )


def _forwarded(response: requests.Response) -> Response:
    return StreamingResponse(
        response.raw.stream(1 << 20, decode_content=False),
        status_code=response.status_code,
        headers={k: v for k, v in response.headers.items() if k.lower() in _RETURNED},
    )
