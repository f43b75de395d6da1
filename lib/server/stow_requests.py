"""Spooling of STOW-RS request bodies to disk, off the event loop."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from lib.dicomweb.stow import Received, boundary_of, split_parts
from lib.errors import UserError

_BLOCK = 1 << 20


@contextlib.asynccontextmanager
async def received_instances(request: Request, folder: Path) -> AsyncIterator[Received]:
    """Spool the body of a STOW-RS request to a file below ``folder``, which exists within the context.

    Raises:
        UserError: The body is not ``multipart/related; type="application/dicom"`` (415), or is damaged.
        HTTPException: The body is too large (413) or too slow (408), by the limits of `lib.server.access`.
    """
    boundary = boundary_of(request.headers.get("content-type", ""))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="stow-") as spool:
        body = Path(spool) / "body"
        with body.open("wb") as file:
            await _spool(request, file)
        yield Received(body, await run_in_threadpool(split_parts, body, boundary))


async def _spool(request: Request, file: BinaryIO) -> None:
    """Write a body to disk, off the event loop, a block at a time."""
    block = bytearray()
    try:
        async for chunk in request.stream():
            block += chunk
            if len(block) >= _BLOCK:
                await run_in_threadpool(file.write, bytes(block))
                block.clear()
    except ClientDisconnect:
        raise UserError("The body of the request is incomplete: the client disconnected.") from None
    await run_in_threadpool(file.write, bytes(block))
