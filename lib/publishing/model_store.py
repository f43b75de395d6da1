"""The weights: the shipped ones, every version trained since, and which one serves."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from filelock import FileLock

from lib.atomic import write_atomically, write_json

PRETRAINED = "pretrained"
_PRETRAINED_FILE = "pretrained_lung_tumor.pt"
_WEIGHTS_FILE = "model.pt"
_MANIFEST_FILE = "manifest.json"
_DRAFT = ".part-version"


class ModelStore:
    """Versions in ``versions/<id>/`` with weights and manifest; ``serving.json`` names the one in use.

    A version appears whole or not at all, and is never changed. Serving another one is one atomic rename.

    Args:
        folder: The app's ``model/`` folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._versions = folder / "versions"
        self._serving = folder / "serving.json"
        self._lock = FileLock(self._versions / ".lock")

    def serving_version(self) -> str | None:
        """Id of the version in use; None if there are no weights at all."""
        try:
            version = json.loads(self._serving.read_text(encoding="utf-8"))["version"]
        except FileNotFoundError:
            version = PRETRAINED
        return version if self.weights(version).exists() else None

    def serving_weights(self) -> Path | None:
        """Weights file in use; None if there is none."""
        version = self.serving_version()
        return self.weights(version) if version else None

    def weights(self, version: str) -> Path:
        """Weights file of a version."""
        if version == PRETRAINED:
            return self._folder / _PRETRAINED_FILE
        return self._versions / version / _WEIGHTS_FILE

    def manifests(self) -> list[dict[str, Any]]:
        """How each version came about, oldest first; the shipped weights are no version of their own."""
        files = self._versions.glob(f"[0-9]*/{_MANIFEST_FILE}")
        return sorted((json.loads(file.read_text(encoding="utf-8")) for file in files), key=lambda m: m["time"])

    def keep(self, weights: Path, manifest: dict[str, Any]) -> str:
        """Keep ``weights`` as a new version. It does not serve yet.

        Args:
            weights: A finished file; it is copied.
            manifest: How it came about; kept beside it with its parent and time.

        Returns:
            Id of the new version.
        """
        self._versions.mkdir(parents=True, exist_ok=True)
        with self._lock:
            draft = self._versions / _DRAFT
            shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
            draft.mkdir()
            write_atomically(draft / _WEIGHTS_FILE, lambda part: shutil.copyfile(weights, part))
            while (self._versions / (version := _now())).exists():
                time.sleep(0.001)
            origin = {"version": version, "parent": self.serving_version(), "time": time.time()}
            write_json(draft / _MANIFEST_FILE, {**manifest, **origin})
            draft.rename(self._versions / version)
        return version

    def remove_drafts(self) -> None:
        """Remove what a process left that was killed while it kept a version."""
        if self._versions.exists():
            with self._lock:
                shutil.rmtree(self._versions / _DRAFT, ignore_errors=True)

    def serve(self, version: str) -> None:
        """Let a kept version serve.

        Raises:
            LookupError: There is none of this id.
        """
        if version != Path(version).name or not self.weights(version).exists():
            raise LookupError(f"There is no model version {version!r} in {self._folder}.")
        write_json(self._serving, {"version": version, "since": time.time()})


def _now() -> str:
    return time.strftime("%Y%m%d-%H%M%S-") + f"{time.time_ns() // 1_000_000 % 1000:03d}"
