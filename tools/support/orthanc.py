"""Orthanc with its DICOMweb plugin, the PACS for comparisons and tests."""

import contextlib
import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import requests

from tools.support.processes import free_port, serving

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
INSTALL = "Orthanc is not installed: apt-get install orthanc orthanc-dicomweb"


def orthanc_is_installed() -> bool:
    """Return whether Orthanc and its DICOMweb plugin are installed."""
    return shutil.which("Orthanc") is not None and _PLUGIN.exists()


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc.

    Attributes:
        url: DICOMweb root, as given to ``--studies``.
        rest_url: root of Orthanc's own API.
        auth: user and password; None if it requires none.
    """

    url: str
    rest_url: str
    auth: tuple[str, str] | None

    def upload(self, studies: Path) -> int:
        """Store all files below a folder; return the total number of instances that Orthanc then has."""
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as files:
            for path in sorted(studies.rglob("*")):
                if path.is_file():
                    files.write(path, path.relative_to(studies))
        reply = requests.post(f"{self.rest_url}/instances", archive.getvalue(), auth=self.auth, timeout=300)
        reply.raise_for_status()
        return requests.get(f"{self.rest_url}/statistics", auth=self.auth, timeout=60).json()["CountInstances"]


@contextlib.contextmanager
def orthanc_server(
    directory: Path, auth: tuple[str, str] | None = None, port: int | None = None, address: str = "127.0.0.1"
) -> Iterator[Orthanc]:
    """Run an empty Orthanc, on a free port unless one is given, with its files in ``directory``.

    At another address than 127.0.0.1 it also answers other hosts.
    """
    port = port or free_port()
    configuration = {
        "Name": "TEST",
        "StorageDirectory": str(directory / "storage"),
        "IndexDirectory": str(directory / "index"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": address != "127.0.0.1",
        "AuthenticationEnabled": auth is not None,
        "RegisteredUsers": dict([auth] if auth else []),
        "Plugins": [str(_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "orthanc.json").write_text(json.dumps(configuration))
    root = f"http://{address}:{port}"
    command = ["Orthanc", str(directory / "orthanc.json")]
    with serving(command, url=root, ready="/system", directory=directory, auth=auth, timeout=60):
        yield Orthanc(f"{root}/dicom-web", root, auth)
