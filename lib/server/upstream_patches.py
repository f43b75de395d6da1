"""All patches of internals of MONAI Label, FastAPI and uvicorn, which have no hooks for these changes.

Each function makes one change. `patch` records package and version that it was written for, the upstream code that it
relies on, and the reason. ``tests/test_server_upstream_patches.py`` fails when any of that code changes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import psutil
import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from monailabel.config import settings as server_settings
from monailabel.interfaces.utils.app import apps
from monailabel.utils.async_tasks import utils as async_tasks
from monailabel.utils.sessions import Sessions
from starlette.routing import BaseRoute, Route

from lib.server.patch_list import patch
from lib.server.sessions import TolerantSessions
from lib.settings import Settings

logger = logging.getLogger(__name__)

# --- MONAI Label


@patch(
    "monailabel",
    "0.8.5",
    "monailabel.interfaces.utils.app:app_instance",
    reason="MONAI Label looks up the app by the URL of the PACS, from which this app removes the password.",
)
def register_app(app_dir: str, studies: str, app: object) -> None:
    """Register ``app`` in MONAI Label under the URL without login."""
    apps[f"{app_dir}{studies}"] = app


@patch(
    "monailabel",
    "0.8.5",
    "monailabel.config",
    "monailabel.utils.async_tasks.utils:_task_func",
    reason="Otherwise users would have to set environment variables, which task processes read again.",
)
def apply_settings(settings: Settings, *, in_server: bool) -> None:
    """Set MONAI Label's settings for this process and, by environment variables, for its task processes.

    Args:
        settings: Settings of this app.
        in_server: Whether this process is the server; its tasks have a different working directory.
    """
    server_settings.MONAI_LABEL_TRACKING_ENABLED = False  # MLflow rejects its file store, so training would fail
    server_settings.MONAI_LABEL_AUTO_UPDATE_SCORING = False
    # In the thread of each queue. MONAI Label's own pool would let clicks and previews wait for whole scans.
    server_settings.MONAI_LABEL_INFER_CONCURRENCY = -1
    server_settings.MONAI_LABEL_SESSION_PATH = str(settings.cache_dir / "sessions")
    if in_server:
        paths = {"workspace": str(settings.workspace), "model_dir": str(settings.model_dir)}
        server_settings.MONAI_LABEL_APP_CONF = {**server_settings.MONAI_LABEL_APP_CONF, **paths}
        os.environ["MONAI_LABEL_APP_CONF"] = json.dumps(server_settings.MONAI_LABEL_APP_CONF)
    if settings.login:
        server_settings.MONAI_LABEL_STUDIES = settings.studies
        server_settings.MONAI_LABEL_DICOMWEB_USERNAME, server_settings.MONAI_LABEL_DICOMWEB_PASSWORD = settings.login
        for name in ("STUDIES", "DICOMWEB_USERNAME", "DICOMWEB_PASSWORD"):
            os.environ[f"MONAI_LABEL_{name}"] = getattr(server_settings, f"MONAI_LABEL_{name}")


@patch(
    "monailabel",
    "0.8.5",
    "monailabel.interfaces.app:MONAILabelApp._load_sessions",
    "monailabel.utils.sessions:Sessions",
    reason="A damaged session file makes MONAI Label's server fail at start.",
)
def tolerant_sessions(stock: Sessions | None) -> TolerantSessions | None:
    """Return sessions that tolerate damaged files, in place of MONAI Label's; None if sessions are disabled."""
    return None if stock is None else TolerantSessions(stock.store_path, stock.expiry)


@patch(
    "monailabel",
    "0.8.5",
    "monailabel.utils.async_tasks.utils",
    reason="MONAI Label does not stop its tasks at shutdown, and waits for them.",
)
def end_tasks() -> None:
    """Kill the processes of MONAI Label's tasks, and discard queued tasks."""
    for method, executor in list(async_tasks.background_executors.items()):
        executor.shutdown(wait=False, cancel_futures=True)
        try:
            async_tasks.stop_background_task(method)
        except (psutil.Error, LookupError, StopIteration) as error:  # it or one of its children has just ended
            logger.info("The task %s could not be stopped: %r", method, error)
        for process in list(async_tasks.background_processes.get(method, {}).values()):
            process.kill()  # no error if it has ended


@patch(
    "monailabel",
    "0.8.5",
    "monailabel.utils.others.generic:init_log_config",
    reason="MONAI Label writes logs to the app's folder, which may be read-only; logs concern patients.",
)
def redirect_log_files(target: Path) -> None:
    """Redirect the handlers of MONAI Label's log file to ``target``."""
    for handler in log_file_handlers(target.name):
        handler.close()  # the handler reopens its file at the next message
        handler.baseFilename = str(target)


def log_file_handlers(name: str) -> list[logging.FileHandler]:
    """Return the handlers of all log files called ``name``."""
    found = {id(handler): handler for one in _loggers() for handler in one.handlers}
    files = (handler for handler in found.values() if isinstance(handler, logging.FileHandler))
    return [handler for handler in files if Path(handler.baseFilename).name == name]


@patch(
    "monailabel",
    "0.8.5",
    "monailabel.utils.others.generic:init_log_config",
    reason="MONAI Label opens two rotating handlers for one file, which would rename it under each other.",
)
def replace_log_formatters(formatter: Callable[[logging.Formatter], logging.Formatter]) -> None:
    """Wrap the formatter of each log handler in ``formatter``, and keep only one handler per log file."""
    files: dict[str, RotatingFileHandler] = {}
    for one in _loggers():
        for handler in list(one.handlers):
            if isinstance(handler, RotatingFileHandler):
                first = files.setdefault(handler.baseFilename, handler)
                if first is not handler:
                    one.removeHandler(handler)
                    one.addHandler(first)
                    handler.close()
                    continue
            if handler.formatter is not None:
                handler.setFormatter(formatter(handler.formatter))


def _loggers() -> list[logging.Logger]:
    root = logging.getLogger()
    return [root, *(one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger))]


# --- FastAPI


@patch(
    "fastapi",
    "0.162.5",
    "fastapi.routing:iter_route_contexts",
    "monailabel.app",
    reason="MONAI Label's own routes read any path, block the event loop or load scripts from public hosts.",
)
def replace_routes(
    server: FastAPI, routers: Iterable[APIRouter], keep: Callable[[Iterable[BaseRoute]], list[Route]]
) -> None:
    """Add ``routers`` before the routes of ``server``, and remove all routes that ``keep`` does not return."""
    routes = server.router.routes
    stock = len(routes)
    for router in routers:
        server.include_router(router)
    routes[:] = keep(routes[stock:] + routes[:stock])


@patch(
    "starlette",
    "1.7.0",
    "starlette.applications:Starlette.build_middleware_stack",
    "starlette.applications:Starlette.__call__",
    "fastapi.applications:FastAPI.build_middleware_stack",
    "monailabel.app",
    reason="MONAI Label builds its middleware before it loads an app, and allows cross-origin access to all sites.",
)
def replace_middleware(server: FastAPI, around: Callable[[Any], Any], *, keep_cors: bool) -> None:
    """Rebuild the middleware of ``server``, wrapped by ``around``.

    Args:
        server: MONAI Label's application.
        around: Wraps an ASGI application; outermost, so that error responses pass through it, too.
        keep_cors: Whether the user allowed certain origins (``MONAI_LABEL_CORS_ORIGINS``).
    """
    if not keep_cors:
        server.user_middleware = [m for m in server.user_middleware if m.cls is not CORSMiddleware]  # type: ignore[comparison-overlap]
    server.middleware_stack = around(server.build_middleware_stack())


# --- uvicorn


@patch(
    "uvicorn",
    "0.54.0",
    "uvicorn.server:Server.serve",
    "uvicorn.server:Server._serve",
    reason="uvicorn provides no reference to its server.",
)
def running_server() -> tuple[uvicorn.Server, list[socket.socket] | None] | None:
    """Return the uvicorn server that runs the current event loop, with its sockets; None if there is none.

    The server is found by the coroutine that runs it.
    """
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:  # no event loop: training process, command line
        return None
    for task in tasks:
        coroutine: Any = task.get_coro()
        while (frame := getattr(coroutine, "cr_frame", None)) is not None:
            owner = frame.f_locals.get("self")
            if isinstance(owner, uvicorn.Server):
                return owner, frame.f_locals.get("sockets")
            coroutine = getattr(coroutine, "cr_await", None)
    return None


@patch(
    "uvicorn",
    "0.54.0",
    "uvicorn.server:Server.startup",
    "uvicorn.protocols.http.h11_impl:H11Protocol",
    reason="uvicorn limits neither the number of connections nor the time for the headers of a request.",
)
def replace_protocol(config: uvicorn.Config, limited: Callable[[type[Any]], type[Any]], backlog: int) -> None:
    """Replace the protocol class of a server, which is looked up at each new connection, by ``limited`` of it.

    Args:
        config: Configuration of the server.
        limited: Returns a subclass of the protocol class.
        backlog: Largest number of connections waiting to be accepted; the socket is opened after the app is loaded.
    """
    config.http_protocol_class = limited(config.http_protocol_class)
    config.backlog = min(config.backlog, backlog)


@patch(
    "uvicorn",
    "0.54.0",
    "uvicorn.server:Server.shutdown",
    "uvicorn.server:Server.capture_signals",
    "uvicorn.server:Server.handle_exit",
    "uvicorn.protocols.http.h11_impl:H11Protocol.shutdown",
    reason="uvicorn waits for open requests without a timeout, and notifies the application only afterwards.",
)
def stop_at_shutdown(server: uvicorn.Server, stop: Callable[[], bool], grace_seconds: int) -> None:
    """Call ``stop`` when ``server`` begins to shut down, and cancel requests that are open after ``grace_seconds``.

    If threads are still computing then, the process ends itself by the signal that it received: a regular exit of
    Python would wait for some of them, and crash in others.

    Args:
        server: The running server.
        stop: Ends the background work, and returns whether all of its threads have ended. Called in a thread.
        grace_seconds: Time for open requests to complete, seconds.
    """
    stock = server.shutdown
    server.config.timeout_graceful_shutdown = grace_seconds

    async def shutdown(sockets: list[socket.socket] | None = None) -> None:
        ended, _ = await asyncio.gather(asyncio.to_thread(stop), stock(sockets))
        if not ended or server.server_state.tasks:
            await asyncio.sleep(0.2)  # until the responses to the cancelled requests are sent
            _end_by_signal((server._captured_signals or [signal.SIGTERM])[-1])

    server.shutdown = shutdown  # type: ignore[method-assign]


def _end_by_signal(number: int) -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
