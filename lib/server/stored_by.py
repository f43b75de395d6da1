"""Storing of DICOM objects on behalf of the user who is logged in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from fastapi import Request
from fastapi.responses import Response
from pydicom import Dataset

from lib.datastore.object_senders import ObjectSenders
from lib.dicomweb.stow import NotStoredError, read_uids
from lib.identity.authentication import Identity
from lib.server.access.request_audit import AUDITED

_MOST_SERIES = 20  # that a line of the audit log names

Stored = tuple[Response, Collection[str]]


def stored_by_user(
    request: Request, parts: Sequence[Path], senders: ObjectSenders | None, store: Callable[[], Stored]
) -> Response:
    """Store objects, and note who did for their labels and the audit log.

    Args:
        request: The request of the user.
        parts: Files of the objects.
        senders: Who stored which objects; None to note nobody.
        store: Stores the objects; returns the response and the SOPInstanceUIDs of those that were stored.

    Raises:
        UserError: One of them is being stored for another request (409).
    """
    headers = [*_headers(parts)]
    series = dict.fromkeys(str(header.SeriesInstanceUID) for header in headers)
    setattr(request.state, AUDITED, {"series": " ".join([*series][:_MOST_SERIES]), "instances": str(len(headers))})
    identity: Identity | None = getattr(request.state, "identity", None)
    if identity is None or senders is None:
        return store()[0]
    with senders.storing([str(header.SOPInstanceUID) for header in headers], identity.name) as stored:
        response, uids = store()
        stored.update(uids)
    return response


def _headers(parts: Sequence[Path]) -> list[Dataset]:
    found = []
    for part in parts:
        with contextlib.suppress(NotStoredError):
            found.append(read_uids(part))
    return found
