"""DICOMweb resources (PS3.18 chapter 10) that viewers need; all others are refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

from lib.errors import UserError

SERVICES = ("qido", "wado", "stow")  # the first part of a path; OHIF requests metadata under two of them

_STUDY = "studies/{study}"
_SERIES = f"{_STUDY}/series/{{series}}"
_INSTANCE = f"{_SERIES}/instances/{{instance}}"
# UIDs (PS3.5 9.1) have digits and dots; those of some non-conforming programs have letters.
_PARTS = {"frames": r"[0-9]{1,9}(?:,[0-9]{1,9}){0,4095}"}
_UID = r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}"
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f?#\\]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_DECODINGS = 8


@dataclass(frozen=True)
class Resource:
    """A resource below the DICOMweb root.

    Attributes:
        path: Path with parameters in braces, in the syntax of FastAPI.
        service: Service of the resource: ``qido``, ``wado`` or ``stow``.
        method: The only accepted HTTP method.
    """

    path: str
    service: str
    method: str = "GET"

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Regular expression that its paths match."""
        parts = re.split(r"\{(\w+)\}", self.path)
        named = [
            f"(?P<{part}>{_PARTS.get(part, _UID)})" if place % 2 else re.escape(part)
            for place, part in enumerate(parts)
        ]
        return re.compile("".join(named))


STUDIES = Resource("studies", "qido")
ALL_SERIES = Resource("series", "qido")
ALL_INSTANCES = Resource("instances", "qido")
SERIES = Resource(f"{_STUDY}/series", "qido")
STUDY_INSTANCES = Resource(f"{_STUDY}/instances", "qido")
SERIES_INSTANCES = Resource(f"{_SERIES}/instances", "qido")
STUDY_METADATA = Resource(f"{_STUDY}/metadata", "wado")
SERIES_METADATA = Resource(f"{_SERIES}/metadata", "wado")
INSTANCE_METADATA = Resource(f"{_INSTANCE}/metadata", "wado")
RETRIEVE_SERIES = Resource(_SERIES, "wado")
RETRIEVE_INSTANCE = Resource(_INSTANCE, "wado")
RETRIEVE_FRAMES = Resource(f"{_INSTANCE}/frames/{{frames}}", "wado")
STORE = Resource("studies", "stow", "POST")
STORE_IN_STUDY = Resource(_STUDY, "stow", "POST")

# Resources whose responses are lists of DICOM JSON objects.
JSON_RESOURCES = (
    STUDIES,
    ALL_SERIES,
    ALL_INSTANCES,
    SERIES,
    STUDY_INSTANCES,
    SERIES_INSTANCES,
    STUDY_METADATA,
    SERIES_METADATA,
)
RESOURCES = (
    *JSON_RESOURCES,
    INSTANCE_METADATA,
    RETRIEVE_SERIES,
    RETRIEVE_INSTANCE,
    RETRIEVE_FRAMES,
    STORE,
    STORE_IN_STUDY,
)


def find_resource(method: str, path: str) -> Resource:
    """Return the resource of a decoded path.

    Args:
        method: HTTP method.
        path: Return value of :func:`decoded_path`.

    Raises:
        UserError: There is no such resource (404), or it does not accept the method (405).
    """
    found = [resource for resource in RESOURCES if resource.pattern.fullmatch(path)]
    if not found:
        raise UserError(
            f"{path[:200]!r} is not a DICOMweb resource that is forwarded to the PACS. Supported: "
            f"{', '.join(sorted({resource.path for resource in RESOURCES}))}.",
            HTTPStatus.NOT_FOUND,
        )
    for resource in found:
        if resource.method == method:
            return resource
    allowed = " or ".join(sorted({resource.method for resource in found}))
    raise UserError(f"{path[:200]!r} accepts {allowed}, not {method[:20]}.", HTTPStatus.METHOD_NOT_ALLOWED)


def decoded_path(raw: bytes) -> str:
    """Percent-decode a path until it no longer changes, because servers behind this one may decode it again.

    Args:
        raw: The undecoded path (``raw_path`` of an ASGI scope).

    Raises:
        UserError: It has an empty part, ``.`` or ``..``, or a character that would turn it into another request.
    """
    path = _decoded(raw)
    if any(part in ("", ".", "..") for part in path.removeprefix("/").split("/")) or _FORBIDDEN.search(path):
        raise UserError(
            "A DICOMweb path must not have empty parts, '.' or '..', the characters '?', '#' and '\\', or control "
            "characters, encoded or not."
        )
    return path


def check_query(raw: bytes) -> None:
    """Refuse a query string with control characters, encoded or not.

    Raises:
        UserError: It has a control character.
    """
    if _CONTROL.search(_decoded(raw)):
        raise UserError("A query string must not have line breaks or other control characters, encoded or not.")


def _decoded(raw: bytes) -> str:
    for _ in range(_MAX_DECODINGS):
        raw, former = unquote_to_bytes(raw), raw
        if raw == former:
            return raw.decode("utf-8", "replace")
    raise UserError(f"The URL is percent-encoded more than {_MAX_DECODINGS - 1} times.")
