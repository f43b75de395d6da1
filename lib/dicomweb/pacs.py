"""A PACS that speaks DICOMweb: its client for the datastore and the way through for OHIF."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import requests
from dicomweb_client import DICOMwebClient
from dicomweb_client.session_utils import create_session_from_user_pass
from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse
from monailabel.config import settings
from monailabel.datastore.dicom import DICOMwebClientX
from monailabel.endpoints.user.auth import RBAC
from requests.adapters import HTTPAdapter

from lib.errors import UserError

logger = logging.getLogger(__name__)

_PREFIXES = {
    "qido": "MONAI_LABEL_QIDO_PREFIX",
    "wado": "MONAI_LABEL_WADO_PREFIX",
    "stow": "MONAI_LABEL_STOW_PREFIX",
}
_FORWARDED = ("accept", "content-type")
_RETURNED = ("content-type", "content-length", "content-encoding", "transfer-encoding", "warning")
_CONNECT_SECONDS = 10


class _ImpatientAdapter(HTTPAdapter):
    """Waits for a PACS no longer than MONAI Label's settings say; by default requests waits for ever."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        options["timeout"] = options.get("timeout") or (_CONNECT_SECONDS, settings.MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT)
        return super().send(request, **options)


def pacs_session() -> requests.Session:
    """A session with the credentials of MONAI Label's settings (``MONAI_LABEL_DICOMWEB_USERNAME`` …)."""
    user, password = settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD
    session = create_session_from_user_pass(user, password) if user and password else requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _ImpatientAdapter())
    return session


def pacs_client(url: str) -> DICOMwebClient:
    """MONAI Label's DICOMweb client for ``url``."""
    client = DICOMwebClientX(
        url=url.rstrip("/"),
        session=pacs_session(),
        qido_url_prefix=settings.MONAI_LABEL_QIDO_PREFIX,
        wado_url_prefix=settings.MONAI_LABEL_WADO_PREFIX,
        stow_url_prefix=settings.MONAI_LABEL_STOW_PREFIX,
    )
    # By default it waits 30 s before it says that a PACS is away.
    client.set_http_retry_params(max_attempts=3, wait_exponential_multiplier=200)
    return client


def pacs_router(url: str) -> APIRouter:
    """Pass what OHIF asks under ``/proxy/dicom`` on to the PACS: method, path, query, headers and body."""
    url = url.rstrip("/")
    session = pacs_session()
    router = APIRouter(
        prefix="/proxy/dicom",
        include_in_schema=False,
        dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))],
    )

    def ask(method: str, target: str, headers: dict[str, str], body: bytes) -> requests.Response:
        return session.request(method, target, headers=headers, data=body or None, stream=True)

    def forward(method: str, target: str, query: str, headers: dict[str, str], body: bytes) -> Response:
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
            logger.warning("PACS did not answer %s %s: %s", method, target, error)
            raise UserError(
                f"The PACS at {url} does not answer ({type(error).__name__}). Is it running, and reachable from here?",
                HTTPStatus.BAD_GATEWAY,
            ) from error
        return StreamingResponse(
            answer.raw.stream(1 << 20, decode_content=False),
            status_code=answer.status_code,
            headers={k: v for k, v in answer.headers.items() if k.lower() in _RETURNED},
        )

    @router.api_route("/{service}/{path:path}", methods=["GET", "POST"])
    async def proxy(request: Request, service: str, path: str) -> Response:
        # Some versions of OHIF ask for metadata under qido, where only wado has it.
        kind = "wado" if path.endswith("metadata") else service
        prefix = getattr(settings, _PREFIXES[kind]) if kind in _PREFIXES else service
        target = "/".join(part for part in (url, prefix, path) if part)
        headers = {name: request.headers[name] for name in _FORWARDED if name in request.headers}
        body = await request.body()
        return await run_in_threadpool(forward, request.method, target, request.url.query, headers, body)

    return router
