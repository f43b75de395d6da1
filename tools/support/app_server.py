"""LungLabel's own server, started as a user starts it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lib.settings import APP_DIR
from tools.support.processes import ServerProcess, free_port, serving

_LAUNCHER = (str(Path(sys.executable).parent / "monailabel"),)
_DEVELOPER_VARIABLES = ("MONAI_", "LUNGLABEL_", "PYTHON", "VIRTUAL_ENV")


@contextlib.contextmanager
def monailabel_server(
    studies: Path | str,
    directory: Path,
    *,
    environment: Mapping[str, str | None] | None = None,
    launcher: Sequence[str] = _LAUNCHER,
    timeout: float = 120,
    root_path: str = "",
    port: int | None = None,
    **conf: object,
) -> Iterator[ServerProcess]:
    """Run ``monailabel start_server`` on ``studies`` within the context.

    Neither the working directory nor the environment is that of a developer, so that a server that depends on them
    fails.

    Args:
        studies: DICOM folder or DICOMweb URL.
        directory: New folder for the working directory, workspace and models.
        environment: Variables to set, or with None to leave out.
        launcher: Command before ``start_server``.
        timeout: Seconds to wait for the first answer.
        root_path: Path prefix of a reverse proxy, which the server's own URL has not.
        port: Its port; default: a free one.
        conf: Pairs of ``--conf NAME VALUE``; ``workspace`` and ``model_dir`` are in ``directory`` unless given.

    Yields:
        The server once it answers.

    Raises:
        RuntimeError: The server ended before it answered.
        TimeoutError: The server did not respond in ``timeout`` seconds.
    """
    port = port or free_port()
    command = [*launcher, "start_server", "--app", str(APP_DIR), "--studies", str(studies)]
    command += ["--host", "127.0.0.1", "--port", str(port), *(["--root_path", root_path] if root_path else [])]
    for name, value in {"workspace": directory / "workspace", "model_dir": directory / "model", **conf}.items():
        command += ["--conf", name, str(value)]
    with serving(
        command,
        url=f"http://127.0.0.1:{port}",
        ready="/auth/",  # needs no log-in
        directory=directory / "cwd",
        environment=_user_environment(environment or {}),
        timeout=timeout,
    ) as server:
        yield server


def _user_environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return this process's environment without a developer's variables, changed by ``changes``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_DEVELOPER_VARIABLES)}
    return {name: value for name, value in {**kept, **changes}.items() if value is not None}
