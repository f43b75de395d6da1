"""Orthanc with its DICOMweb plugin: a PACS to test against."""

import contextlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.support.process import free_port, serving
from tests.support.requirement import find_program, lacking

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
INSTALL = "Orthanc is not installed: apt-get install orthanc orthanc-dicomweb"


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc.

    Attributes:
        url: DICOMweb root, as given to ``--studies``.
        rest_url: root of Orthanc's own API.
        auth: user and password, where it asks for them.
    """

    url: str
    rest_url: str
    auth: tuple[str, str] | None

    def upload(self, studies: Path) -> int:
        """Store all files under a folder; returns the number of instances it then holds."""
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as files:
            for path in sorted(studies.rglob("*")):
                if path.is_file():
                    files.write(path, path.relative_to(studies))
        reply = requests.post(f"{self.rest_url}/instances", archive.getvalue(), auth=self.auth, timeout=300)
        reply.raise_for_status()
        return requests.get(f"{self.rest_url}/statistics", auth=self.auth, timeout=60).json()["CountInstances"]


@contextlib.contextmanager
def orthanc_server(directory: Path, auth: tuple[str, str] | None = None) -> Iterator[Orthanc]:
    """An empty Orthanc on a free port of 127.0.0.1, its files in ``directory``."""
    program = find_program("Orthanc", sentence=INSTALL)
    if not PLUGIN.exists():
        lacking(INSTALL)
    port = free_port()
    configuration = {
        "Name": "TEST",
        "StorageDirectory": str(directory / "storage"),
        "IndexDirectory": str(directory / "index"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": auth is not None,
        "RegisteredUsers": dict([auth] if auth else []),
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "orthanc.json").write_text(json.dumps(configuration))
    root = f"http://127.0.0.1:{port}"
    command = [program, str(directory / "orthanc.json")]
    with serving(command, url=root, ready="/system", directory=directory, auth=auth, timeout=60):
        yield Orthanc(f"{root}/dicom-web", root, auth)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Orthanc]]:
    """``orthanc(studies, user=…, password=…)``: an Orthanc that holds all DICOM files of a folder."""
    with contextlib.ExitStack() as servers:

        def start(studies: Path, *, user: str | None = None, password: str = "") -> Orthanc:
            auth = (user, password) if user else None
            server = servers.enter_context(orthanc_server(tmp_path_factory.mktemp("orthanc"), auth))
            server.upload(studies)
            return server

        yield start
