"""The real server, started as a user starts it."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tools.benchmark.processes import ServerProcess, free_port, serving

REPOSITORY = Path(__file__).parents[2]


@contextlib.contextmanager
def monailabel_server(
    studies: Path | str,
    directory: Path,
    *,
    environment: Mapping[str, str | None] | None = None,
    launcher: Sequence[str] = (str(Path(sys.executable).parent / "monailabel"),),
    **conf: object,
) -> Iterator[ServerProcess]:
    """``monailabel start_server`` on ``studies``, from a working directory that is not the repository's.

    Args:
        studies: DICOM folder or DICOMweb URL.
        directory: new folder for the working directory, workspace and models.
        environment: variables to set, or with None to leave out; a user needs none but for the password of a PACS.
        launcher: command that ``start_server`` and what follows are added to.
        conf: each becomes ``--conf NAME VALUE``; ``workspace`` and ``model_dir`` lie in ``directory`` unless
            given.
    """
    settings = {"workspace": directory / "workspace", "model_dir": directory / "model", **conf}
    port = free_port()
    command = [*launcher, "start_server"]
    command += ["--app", str(REPOSITORY), "--studies", str(studies)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    for name, value in settings.items():
        command += ["--conf", name, str(value)]
    # A user has none of these set, so the app must not need them.
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MONAI_", "LUNGLABEL_", "PYTHON", "VIRTUAL_ENV"))
    }
    variables |= environment or {}
    with serving(
        command,
        url=f"http://127.0.0.1:{port}",
        ready="/info/",
        directory=directory / "cwd",
        environment={name: value for name, value in variables.items() if value is not None},
    ) as server:
        yield server


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """``start_server(studies, environment=…, **conf)``: servers that live until the test ends."""
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
    """``start_module_server(studies, environment=…, **conf)``: servers that live until the test file ends."""
    with contextlib.ExitStack() as servers:

        def start(studies: Path | str, **options: object) -> ServerProcess:
            directory = tmp_path_factory.mktemp("server")
            return servers.enter_context(monailabel_server(studies, directory, **options))

        yield start
