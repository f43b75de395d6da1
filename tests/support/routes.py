"""Routes of this app served alone: without MONAI Label, a start takes no time."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI

from lib.server.access.bodies import LimitedBody, Receive, Send
from lib.server.error_responses import add_error_responses
from tools.support.processes import free_port
from tools.support.waiting import wait_for


@contextlib.contextmanager
def served(router: APIRouter, limit: int | None = None) -> Iterator[str]:
    """Serve a router, with the error answers of the app and a limit on bodies in bytes; yields its address."""
    app = FastAPI(redirect_slashes=False)  # the whole app has a route for all the rest
    app.include_router(router)
    add_error_responses(app)

    async def limited(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        bounded = limit is not None and scope["type"] == "http"
        await app(scope, LimitedBody(receive, limit, 60, "max_stow_mb") if bounded else receive, send)

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(limited, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started, "the routes", seconds=60, interval=0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
