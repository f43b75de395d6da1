"""Fixtures that start the real server."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools.support.app_server import monailabel_server
from tools.support.processes import ServerProcess


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Return ``start_server(studies, environment=…, **conf)``, whose servers stop when the test ends."""
    with contextlib.ExitStack() as servers:
        started = []

        def start(studies: Path | str, **options: object) -> ServerProcess:
            started.append(studies)
            directory = tmp_path / f"server-{len(started)}"
            return servers.enter_context(monailabel_server(studies, directory, **options))

        yield start


@pytest.fixture(scope="module")
def start_module_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., ServerProcess]]:
    """Return ``start_module_server(studies, environment=…, **conf)``, whose servers stop with the test module."""
    with contextlib.ExitStack() as servers:

        def start(studies: Path | str, **options: object) -> ServerProcess:
            directory = tmp_path_factory.mktemp("server")
            return servers.enter_context(monailabel_server(studies, directory, **options))

        yield start
