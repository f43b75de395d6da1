"""A PACS to test against."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.requirement import lacking
from tools.support.orthanc import INSTALL, Orthanc, orthanc_is_installed, orthanc_server


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Orthanc]]:
    """``orthanc(studies, user=…, password=…)``: an Orthanc that holds all DICOM files of a folder."""
    if not orthanc_is_installed():
        lacking(INSTALL)
    with contextlib.ExitStack() as servers:

        def start(studies: Path, *, user: str | None = None, password: str = "") -> Orthanc:
            auth = (user, password) if user else None
            server = servers.enter_context(orthanc_server(tmp_path_factory.mktemp("orthanc"), auth))
            server.upload(studies)
            return server

        yield start
