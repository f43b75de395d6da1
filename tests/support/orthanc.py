"""The Orthanc PACS fixture."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.requirement import skip_or_fail
from tools.support.orthanc import INSTALL, Orthanc, orthanc_is_installed, orthanc_server


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Orthanc]]:
    """Return ``orthanc(studies, user=…, password=…)``, which starts an Orthanc with all DICOM files of a folder."""
    if not orthanc_is_installed():
        skip_or_fail(INSTALL)
    with contextlib.ExitStack() as servers:

        def start(studies: Path, *, user: str | None = None, password: str = "") -> Orthanc:
            auth = (user, password) if user else None
            server = servers.enter_context(orthanc_server(tmp_path_factory.mktemp("orthanc"), auth))
            server.upload(studies)
            return server

        yield start
