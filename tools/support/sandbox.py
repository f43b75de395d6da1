"""Folders of a chaos or fuzz run (phantoms, a workspace, a model folder), and the server that uses them."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from lib.networks import AttentionResidualUNet
from lib.phantoms import Acquisition, chest_volume, draw_lesions, write_dicom_series
from lib.publishing import ModelStore
from lib.settings import load_info
from tools.support.app_server import monailabel_server
from tools.support.processes import ServerProcess

GRID = Acquisition(shape=(12, 96, 96), spacing=(5.0, 4.0, 4.0))
_PATIENTS = 3
_START_SECONDS = 600  # generous for a busy machine; the actual time is reported


@dataclass(frozen=True)
class Sandbox:
    """Folders of one chaos or fuzz run.

    Attributes:
        folder: Root folder.
        images: SeriesInstanceUIDs of the images.
    """

    folder: Path
    images: tuple[str, ...]

    @classmethod
    def build(cls, folder: Path) -> Sandbox:
        """Write small chest phantoms of three patients, and untrained weights, which serve the purpose."""
        images = []
        for seed in range(1, _PATIENTS + 1):
            hu, _, affine = chest_volume(seed, lesions=draw_lesions(seed, 3, diameters=(20, 40)), acquisition=GRID)
            name = f"CHAOS-{seed}"
            images.append(write_dicom_series(folder / "studies" / name, hu, affine, patient_id=name))
        sandbox = cls(folder, tuple(images))
        sandbox.weights.parent.mkdir()
        torch.manual_seed(0)
        torch.save({"model": AttentionResidualUNet(**load_info()["network"]).state_dict()}, sandbox.weights)
        return sandbox

    @property
    def workspace(self) -> Path:
        """Return the server's workspace."""
        return self.folder / "workspace"

    @property
    def models(self) -> ModelStore:
        """Return the server's model store, read from outside the server."""
        return ModelStore(self.workspace / "models", self.weights)

    @property
    def weights(self) -> Path:
        """Return the path of the shipped weights."""
        return self.folder / "model" / "pretrained_lung_tumor.pt"

    @property
    def draft(self) -> Path:
        """Return the folder of a version while it is being written."""
        return self.workspace / "models" / "versions" / ".part-version"

    @property
    def note(self) -> Path:
        """Return the file that exists while a training runs, and after it was interrupted."""
        return self.workspace / "training.json"

    def is_training(self) -> bool:
        """Return whether the files of a running training exist."""
        try:
            return Path(json.loads(self.note.read_text())["folder"]).exists()
        except FileNotFoundError:  # the file may be removed at any time, so checking first would not help
            return False

    def studies_fingerprint(self) -> str:
        """Return a digest of all names, times and contents in the DICOM folder."""
        digest = hashlib.sha256()
        for path in sorted((self.folder / "studies").rglob("*")):
            digest.update(f"{path} {path.stat().st_mtime_ns}".encode())
            digest.update(path.read_bytes() if path.is_file() else b"")
        return digest.hexdigest()

    def versions(self) -> dict[str, tuple[int, int]]:
        """Return size and modification time of the weights of every version."""
        names = [manifest["version"] for manifest in self.models.manifests()]
        files = {name: self.models.weights(name).stat() for name in names}
        return {name: (file.st_size, file.st_mtime_ns) for name, file in files.items()}

    def leftovers(self) -> int:
        """Return the number of temporary files left by killed processes."""
        places = (self.workspace, self.weights.parent)
        uploads = self.workspace / "cache" / "uploads"
        return sum(len([*place.rglob(".part-*")]) for place in places) + len([*uploads.glob("*")])

    def server(
        self, number: int, *, port: int | None = None, **conf: object
    ) -> contextlib.AbstractContextManager[ServerProcess]:
        """Start ``monailabel start_server`` on these folders; ``number`` distinguishes its log from the others."""
        return monailabel_server(
            self.folder / "studies",
            self.folder / f"server-{number}",
            timeout=_START_SECONDS,
            workspace=self.workspace,
            model_dir=self.weights.parent,
            port=port,
            **conf,
        )


def trainings(server: ServerProcess) -> list[psutil.Process]:
    """Return the training processes of a server: all its descendants."""
    try:
        return psutil.Process(server.process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def alive(process: psutil.Process) -> bool:
    """Return whether a process is running, and not a zombie."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
