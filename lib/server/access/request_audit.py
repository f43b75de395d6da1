"""Entries of the audit log for requests."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from lib.identity.audit_log import AuditLog
from lib.identity.authentication import Identity
from lib.server.access.path_prefix import path_of
from lib.server.access.route_table import RouteSpec, parameters

logger = logging.getLogger(__name__)

AUDITED = "audited"  # in the state of a request: more that a route says about what was done
_AGAIN_SECONDS = 3600.0  # until the same user opening the same images is logged again: a viewer requests each slice
_REMEMBERED = 10_000
_opened: OrderedDict[tuple[str, ...], float] = OrderedDict()

# UIDs, versions and names of this app; other values may be those of patients.
_VALUE = re.compile(r"[\w.-]{1,128}")
_IN_PATH = ("study", "series", "instance", "model")
_IN_QUERY = ("image", "label", "tag", "output", "number", "version")


async def audit_request(
    log: AuditLog, identity: Identity, route: RouteSpec, scope: Mapping[str, Any], status: int
) -> None:
    """Log who sent a request, for what, and with which result; a disk error is logged and not raised.

    That images were opened is logged once an hour for each user and series.
    """
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    found = {name: query[name][0] for name in _IN_QUERY if name in query}
    in_path = parameters(route, path_of(scope))
    found |= {name: in_path[name] for name in _IN_PATH if name in in_path}
    details = {name: value for name, value in found.items() if _VALUE.fullmatch(value)}
    details |= scope.get("state", {}).get(AUDITED, {})
    address = (scope.get("client") or ("",))[0]
    details |= {"role": identity.role.title, "address": address, "status": str(status)}
    what = details.get("series") or details.get("image") or details.get("study", "")
    key = (str(log.path), identity.name, what, str(status)) if route.audit == "opened" else None
    if key is not None and not _is_new(key):
        return
    try:
        await asyncio.to_thread(log.append, identity.name, route.audit, **details)
    except OSError as error:
        logger.error("The audit log cannot be written: %s", error)
        if key is not None:
            _opened.pop(key, None)  # the next request of a slice tries again


def _is_new(key: tuple[str, ...]) -> bool:
    """Return whether something has not been logged within the last hour, and remember it for the next hour."""
    now = time.monotonic()
    if now - _opened.get(key, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
        return False
    _opened[key] = now  # before it is logged, because a viewer requests many slices at once
    _opened.move_to_end(key)
    while len(_opened) > _REMEMBERED:
        _opened.popitem(last=False)
    return True
