"""Entries of the audit log for requests."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from lib.identity.audit_log import AuditLog
from lib.identity.authentication import Identity
from lib.server.access.route_table import RouteSpec, parameters

logger = logging.getLogger(__name__)

# UIDs, versions and names of this app; other values may be those of patients.
_VALUE = re.compile(r"[\w.-]{1,128}")
_IN_PATH = ("study", "series", "instance", "model")
_IN_QUERY = ("image", "label", "tag", "output", "number", "version")


async def audit_request(
    log: AuditLog, identity: Identity, route: RouteSpec, scope: Mapping[str, Any], status: int
) -> None:
    """Log who sent a request, for what, and with which result; a disk error is logged and not raised."""
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    found = {name: query[name][0] for name in _IN_QUERY if name in query}
    in_path = parameters(route, scope["path"])
    found |= {name: in_path[name] for name in _IN_PATH if name in in_path}
    details = {name: value for name, value in found.items() if _VALUE.fullmatch(value)}
    address = (scope.get("client") or ("",))[0]
    details |= {"role": identity.role.title, "address": address, "status": str(status)}
    try:
        await asyncio.to_thread(log.append, identity.name, route.audit, **details)
    except OSError as error:
        logger.error("The audit log cannot be written: %s", error)
