"""Requests of viewers that are passed on to a PACS, and nothing else.

The address that the PACS is asked under is made of :mod:`lib.dicomweb.resources`, never of what the path says besides:
the PACS may have other services on the same port, open to whoever has its password.
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
    """A request that may be passed on.

    Attributes:
        resource: What is asked for.
        study: StudyInstanceUID in the path, or "".
        target: Address at the PACS, without its query string.
        query: Query string, or "".
        headers: Headers that are passed on.
    """

    resource: Resource
    study: str
    target: str
    query: str
    headers: dict[str, str]


class PacsProxy:
    """The way to one PACS.

    Args:
        url: DICOMweb root of the PACS.
        login: User and password, where they are not in MONAI Label's settings.
    """

    def __init__(self, url: str, login: Login | None = None) -> None:
        self._url = url.rstrip("/")
        self._session = pacs_session(login)

    def check(
        self, method: str, raw_path: bytes | None, path: str, query: bytes, headers: Mapping[str, str]
    ) -> PacsRequest:
        """Return what may be passed on of a request.

        Args:
            method: Of HTTP.
            raw_path: Path as it came over the wire, where the server knows it.
            path: Path as the server decoded it.
            query: Query string.
            headers: Of the request, by any spelling of their names.

        Raises:
            UserError: It asks for no DICOMweb resource.
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
            # The answer is passed on as it comes, so it may be compressed only where the viewer accepts that.
            {"accept-encoding": "identity", **forwarded},
        )

    def send(self, request: PacsRequest, body: BinaryIO | None = None, accept: str | None = None) -> requests.Response:
        """Send a request to the PACS and return its answer, whose body is not read yet.

        Args:
            request: What `check` returned.
            body: Of a STOW-RS request.
            accept: Media type to ask for instead of what the viewer asked for.

        Raises:
            UserError: The PACS does not answer (502).
        """
        try:
            try:
                return self._ask(request, body, accept)
            except requests.ConnectionError as error:
                # A second STOW could store twice, and after a timeout there is no point in waiting again.
                if request.resource.method != "GET" or isinstance(error, requests.Timeout):
                    raise
                # A PACS closes idle connections, and may do so just while the next request is on its way.
                return self._ask(request, body, accept)
        except requests.RequestException as error:
            # The text of the error has the whole address, with the patient that was searched for.
            name = type(error).__name__
            logger.warning("PACS did not answer %s %s: %s", request.resource.method, request.target, name)
            raise UserError(
                f"The PACS at {self._url} does not answer ({name}). Is it running, and reachable from here?",
                HTTPStatus.BAD_GATEWAY,
            ) from error

    def _ask(self, request: PacsRequest, body: BinaryIO | None, accept: str | None) -> requests.Response:
        address = f"{request.target}?{request.query}" if request.query else request.target
        headers = {**request.headers, "accept": accept} if accept else request.headers
        return self._session.request(request.resource.method, address, headers=headers, data=body, stream=True)
