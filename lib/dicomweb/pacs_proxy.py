"""Proxy that forwards DICOMweb requests of viewers to a PACS, and no others.

The URL at the PACS is built from :mod:`lib.dicomweb.resources`, never from other parts of the requested path, because
the PACS may have other services on the same port that accept the same password.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import BinaryIO

import requests
from monailabel.config import settings

from lib.dicomweb.login import Login
from lib.dicomweb.pacs_client import pacs_session
from lib.dicomweb.resources import SERVICES, Resource, check_query, decoded_path, find_resource
from lib.errors import UserError

logger = logging.getLogger(__name__)

_PATH = "/proxy/dicom/"
_PREFIXES = {
    "qido": "MONAI_LABEL_QIDO_PREFIX",
    "wado": "MONAI_LABEL_WADO_PREFIX",
    "stow": "MONAI_LABEL_STOW_PREFIX",
}
_FORWARDED = ("accept", "accept-encoding", "content-type")


@dataclass(frozen=True)
class PacsRequest:
    """A validated request.

    Attributes:
        resource: The requested resource.
        study: StudyInstanceUID in the path, or "".
        target: URL at the PACS, without query string.
        query: Query string, or "".
        headers: Forwarded headers.
    """

    resource: Resource
    study: str
    target: str
    query: str
    headers: dict[str, str]


class PacsProxy:
    """Proxy to one PACS.

    Args:
        url: DICOMweb root of the PACS.
        login: User and password; None for those of MONAI Label's settings.
    """

    def __init__(self, url: str, login: Login | None = None) -> None:
        self._url = url.rstrip("/")
        self._session = pacs_session(login)

    def check(
        self, method: str, raw_path: bytes | None, path: str, query: bytes, headers: Mapping[str, str]
    ) -> PacsRequest:
        """Validate a request and return what is forwarded of it.

        Args:
            method: HTTP method.
            raw_path: Undecoded path, if the server provides it.
            path: Decoded path.
            query: Query string.
            headers: Headers of the request, names in any case.

        Raises:
            UserError: The path is not a DICOMweb resource.
        """
        paths = {decoded_path(raw) for raw in (raw_path or b"", path.encode()) if raw}
        check_query(query)
        service, _, rest = paths.pop().partition(_PATH)[2].partition("/")
        if paths or service not in SERVICES:
            raise UserError(f"DICOMweb is under /proxy/dicom/{{{','.join(SERVICES)}}}.", HTTPStatus.NOT_FOUND)
        resource = find_resource(method, rest)
        named = resource.pattern.fullmatch(rest)
        prefix = getattr(settings, _PREFIXES[resource.service])
        forwarded = {name: headers[name] for name in _FORWARDED if name in headers}
        return PacsRequest(
            resource,
            named.groupdict().get("study", "") if named else "",
            "/".join(part for part in (self._url, prefix, rest) if part),
            query.decode("utf-8", "replace"),
            # The response is forwarded unchanged, so it may be compressed only if the viewer accepts that.
            {"accept-encoding": "identity", **forwarded},
        )

    def send(self, request: PacsRequest, body: BinaryIO | None = None, accept: str | None = None) -> requests.Response:
        """Send a request to the PACS and return its response, whose body is not read yet.

        Args:
            request: Return value of `check`.
            body: Body of a STOW-RS request.
            accept: Media type to request instead of the viewer's.

        Raises:
            UserError: The PACS does not respond (502).
        """
        try:
            try:
                return self._ask(request, body, accept)
            except requests.ConnectionError as error:
                # A retried STOW could store twice, and a retry after a timeout would only wait again.
                if request.resource.method != "GET" or isinstance(error, requests.Timeout):
                    raise
                # Retry: the PACS may have closed an idle connection while the request was being sent.
                return self._ask(request, body, accept)
        except requests.RequestException as error:
            # The text of the error contains the whole URL, and so the patient that was searched for.
            name = type(error).__name__
            logger.warning("PACS did not respond to %s %s: %s", request.resource.method, request.target, name)
            raise UserError(
                f"The PACS at {self._url} does not respond ({name}). Is it running and reachable from this machine?",
                HTTPStatus.BAD_GATEWAY,
            ) from error

    def _ask(self, request: PacsRequest, body: BinaryIO | None, accept: str | None) -> requests.Response:
        address = f"{request.target}?{request.query}" if request.query else request.target
        headers = {**request.headers, "accept": accept} if accept else request.headers
        return self._session.request(request.resource.method, address, headers=headers, data=body, stream=True)
