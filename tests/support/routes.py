"""The app's routes, served without MONAI Label, which starts instantly."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI

from lib.server.access.bodies import LimitedBody, Receive, Send
from lib.server.error_responses import add_error_responses
from tools.support.processes import free_port
from tools.support.waiting import wait_for


@contextlib.contextmanager
def serve_router(
    router: APIRouter,
    limit: int | None = None,
    overrides: Mapping[Any, Any] | None = None,
) -> Iterator[str]:
    """Serve a router with the app's error handlers, a body limit in bytes and other dependencies; yield its URL."""
    app = FastAPI(redirect_slashes=False)  # the full app has a catch-all route
    app.include_router(router)
    app.dependency_overrides.update(overrides or {})
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
