"""A PACS that speaks DICOMweb: its client for the datastore and the way through for OHIF."""

from __future__ import annotations

import logging
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

import requests
from dicomweb_client.session_utils import create_session_from_user_pass
from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC
from requests.adapters import HTTPAdapter

from lib.dicomweb.login import Login
from lib.dicomweb.pacs_hidden import Hidden, PacsClient
from lib.dicomweb.resources import JSON_RESOURCES, SERVICES, Resource, check_query, decoded_path, find_resource
from lib.dicomweb.stow import received_instances
from lib.errors import UserError

logger = logging.getLogger(__name__)

_PREFIXES = {
    "qido": "MONAI_LABEL_QIDO_PREFIX",
    "wado": "MONAI_LABEL_WADO_PREFIX",
    "stow": "MONAI_LABEL_STOW_PREFIX",
}
_FORWARDED = ("accept", "accept-encoding", "content-type")
_RETURNED = ("content-type", "content-length", "content-encoding", "transfer-encoding", "warning")
_CONNECT_SECONDS = 10


class _ImpatientAdapter(HTTPAdapter):
    """Waits for a PACS no longer than MONAI Label's settings say; by default requests waits for ever."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        options["timeout"] = options.get("timeout") or (_CONNECT_SECONDS, settings.MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT)
        return super().send(request, **options)


def pacs_session(login: Login | None = None) -> requests.Session:
    """Return a session that logs in.

    Args:
        login: User and password; by default those of MONAI Label's settings
            (``MONAI_LABEL_DICOMWEB_USERNAME`` and ``MONAI_LABEL_DICOMWEB_PASSWORD``).
    """
    user, password = login or (
        settings.MONAI_LABEL_DICOMWEB_USERNAME,
        settings.MONAI_LABEL_DICOMWEB_PASSWORD,
    )
    session = create_session_from_user_pass(user, password) if user and password else requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _ImpatientAdapter())
    return session


def pacs_client(url: str, login: Login | None = None) -> PacsClient:
    """Return a DICOMweb client for ``url``; login as in :func:`pacs_session`."""
    client = PacsClient(
        url=url.rstrip("/"),
        session=pacs_session(login),
        qido_url_prefix=settings.MONAI_LABEL_QIDO_PREFIX,
        wado_url_prefix=settings.MONAI_LABEL_WADO_PREFIX,
        stow_url_prefix=settings.MONAI_LABEL_STOW_PREFIX,
    )
    # By default it waits 30 s before it says that a PACS is away.
    client.set_http_retry_params(max_attempts=3, wait_exponential_multiplier=200)
    return client


def pacs_router(
    url: str, uploads: Path, *, writable: bool, login: Login | None = None, hidden: Hidden | None = None
) -> APIRouter:
    """Pass what viewers ask under ``/proxy/dicom`` on to the PACS, and nothing else.

    The address that the PACS is asked under is made of :mod:`lib.dicomweb.resources`, never of what the path says
    besides: the PACS may have other services on the same port, open to whoever has its password.

    Args:
        url: DICOMweb root of the PACS.
        uploads: Where the bodies of STOW-RS requests wait.
        writable: Whether STOW-RS requests are passed on (``store_in_pacs``).
        login: User and password, where they are not in MONAI Label's settings.
        hidden: What is not passed on.
    """
    url = url.rstrip("/")
    session = pacs_session(login)
    router = APIRouter(
        prefix="/proxy/dicom",
        include_in_schema=False,
        dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))],
    )

    def ask(method: str, target: str, headers: dict[str, str], body: BinaryIO | None) -> requests.Response:
        return session.request(method, target, headers=headers, data=body, stream=True)

    def forward(
        method: str, target: str, query: str, headers: dict[str, str], body: BinaryIO | None = None
    ) -> requests.Response:
        asked = (method, f"{target}?{query}" if query else target, headers, body)
        try:
            try:
                answer = ask(*asked)
            except requests.ConnectionError as error:
                # A second STOW could store twice; who was waited for in vain is not waited for again.
                if method != "GET" or isinstance(error, requests.Timeout):
                    raise
                # A PACS closes idle connections, and may do so just while the next request is on its way.
                answer = ask(*asked)
        except requests.RequestException as error:
            # What the error says has the whole address, with whom was searched for.
            logger.warning("PACS did not answer %s %s: %s", method, target, type(error).__name__)
            raise UserError(
                f"The PACS at {url} does not answer ({type(error).__name__}). Is it running, and reachable from here?",
                HTTPStatus.BAD_GATEWAY,
            ) from error
        return answer

    def passed_on(answer: requests.Response) -> Response:
        return StreamingResponse(
            answer.raw.stream(1 << 20, decode_content=False),
            status_code=answer.status_code,
            headers={k: v for k, v in answer.headers.items() if k.lower() in _RETURNED},
        )

    @router.get("/{service}/{path:path}")
    def retrieve(request: Request, service: str) -> Response:
        resource, study, target, query, headers = _checked(request, url)
        if hidden and (reason := hidden.studies().get(study)):
            raise UserError(f"This study is not shown: {reason}.", HTTPStatus.NOT_FOUND)
        if hidden and resource in JSON_RESOURCES and hidden.anything():
            answer = forward("GET", target, query, {**headers, "accept": "application/dicom+json"})
            if answer.status_code != HTTPStatus.OK:
                return passed_on(answer)
            return JSONResponse(hidden.without(answer.json()), media_type="application/dicom+json")
        return passed_on(forward("GET", target, query, headers))

    @router.post("/{service}/{path:path}")
    async def store(request: Request, service: str) -> Response:
        _, _, target, query, headers = _checked(request, url)
        if not writable:
            raise UserError(
                "This server does not write to the PACS. Whoever runs it may allow so with --conf store_in_pacs true.",
                HTTPStatus.FORBIDDEN,
            )
        async with received_instances(request, uploads) as received:

            def send() -> Response:
                received.check_classes()
                with received.body.open("rb") as body:
                    return passed_on(forward("POST", target, query, headers, body))

            return await run_in_threadpool(send)

    return router


def _checked(request: Request, url: str) -> tuple[Resource, str, str, str, dict[str, str]]:
    """Return resource, study or "", address at the PACS, query string and headers of what may be passed on."""
    paths = {decoded_path(raw) for raw in (request.scope.get("raw_path") or b"", request.scope["path"].encode()) if raw}
    query = request.scope.get("query_string", b"")
    check_query(query)
    service, _, path = paths.pop().partition("/proxy/dicom/")[2].partition("/")
    if paths or service not in SERVICES:
        raise UserError(f"DICOMweb is under /proxy/dicom/{{{','.join(SERVICES)}}}.", HTTPStatus.NOT_FOUND)
    resource = find_resource(request.method, path)
    named = resource.pattern.fullmatch(path)
    study = named.groupdict().get("study", "") if named else ""
    prefix = getattr(settings, _PREFIXES[resource.service])
    target = "/".join(part for part in (url, prefix, path) if part)
    headers = {name: request.headers[name] for name in _FORWARDED if name in request.headers}
    # The answer is passed on as it comes, so it may be compressed only where the viewer takes it so.
    return resource, study, target, query.decode("utf-8", "replace"), {"accept-encoding": "identity", **headers}
