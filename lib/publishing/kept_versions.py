"""The files of the model versions, and whether they are what was written."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib.errors import in_one_line
from lib.publishing import manifest
from lib.storage.atomic import sync_folder, write_atomically, write_json
from lib.storage.integrity import Damage, sha256_of
from lib.storage.state_file import UNREADABLE

PRETRAINED = "pretrained"
PRETRAINED_FILE = "pretrained_lung_tumor.pt"
DRAFT = ".part-version"
_WEIGHTS_FILE = "model.pt"
_RETRY_SECONDS = 30  # after an I/O error, which may pass


class KeptVersions:
    """Folders ``<id>/`` with weights and manifest, and the shipped weights as version ``pretrained``.

    Args:
        folder: Of the versions.
        shipped: The shipped weights; a hash in ``<name>.sha256`` beside them, as ``sha256sum`` writes it, is compared.
    """

    def __init__(self, folder: Path, shipped: Path) -> None:
        self.folder = folder
        self._shipped = shipped
        self._found: dict[str, tuple[tuple[int, ...], str | None, float]] = {}

    def ids(self) -> list[str]:
        """Return the id of each version that was kept, damaged or not."""
        try:
            names = [path.name for path in self.folder.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in names if manifest.VERSION.fullmatch(name))

    def weights(self, version: str) -> Path:
        """Weights file of a version."""
        return self._shipped if version == PRETRAINED else self.folder / version / _WEIGHTS_FILE

    def manifest(self, version: str) -> dict[str, Any] | None:
        """How a version came about; None where that is missing or damaged."""
        try:
            return manifest.read(self.folder / version)
        except UNREADABLE:
            return None

    def next_sequence(self) -> int:
        """Number of the next version: higher than any, also than those of damaged ones, whatever the clock says."""
        named = [manifest.sequence_of(version) for version in self.ids()]
        noted = [(self.manifest(version) or {}).get("sequence", 0) for version in self.ids()]
        return 1 + max([*named, *noted], default=0)

    def sha256(self, version: str) -> str | None:
        """Return the hash that was noted of a version's weights; None if none was.

        Raises:
            ValueError: The note is damaged.
            OSError: It cannot be read.
        """
        if version != PRETRAINED:
            return manifest.read(self.folder / version).get("sha256")
        try:
            noted = self._note_of(version).read_text(encoding="ascii").split()
        except FileNotFoundError:
            return None
        if not noted or len(noted[0]) != 64:
            raise ValueError("it is no hash")
        return noted[0]

    def fault(self, version: str) -> str | None:
        """Say what is wrong with a version; None if nothing is. Files that have not changed are not read again."""
        signature = self._signature(version)
        known = self._found.get(version)
        if known and known[0] == signature and time.monotonic() < known[2]:
            return known[1]
        try:
            return self._remember(version, self._examine(version))
        except OSError as error:
            return self.refuse_unreadable(version, error)

    def refuse(self, version: str, problem: str) -> str | None:
        """Count a version as damaged until its files change; return that as a sentence."""
        return self._remember(version, problem)

    def refuse_unreadable(self, version: str, error: OSError) -> str | None:
        """Count a version as damaged for a while: an I/O error may pass; return that as a sentence."""
        return self._remember(version, f"its weights cannot be read ({in_one_line(error)})", _RETRY_SECONDS)

    def damage(self) -> list[Damage]:
        """Return what is wrong with each version that cannot be used."""
        shipped = [PRETRAINED] if self._shipped.exists() else []
        faults = [(version, self.fault(version)) for version in (*shipped, *self.ids())]
        instead = "It is not used. Put its files back from a backup, or train again."
        damaged = [Damage("model version", self.weights(one), f"{fault} {instead}") for one, fault in faults if fault]
        verdicts = (manifest.verdict_file(self.folder / version).damage() for version in self.ids())
        return [*damaged, *(one for one in verdicts if one)]

    def write(self, version: str, copy: Callable[[Path], Any], facts: dict[str, Any]) -> None:
        """Add a version: whole, or not at all.

        Args:
            version: Its id.
            copy: Writes the weights to a path.
            facts: For the manifest, which gets the hash of the weights besides.
        """
        draft = self.folder / DRAFT
        shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
        draft.mkdir()
        write_atomically(draft / _WEIGHTS_FILE, copy)
        write_json(draft / manifest.FILE, {**facts, "sha256": sha256_of(draft / _WEIGHTS_FILE)})
        draft.rename(self.folder / version)
        sync_folder(self.folder)

    def _examine(self, version: str) -> str | None:
        try:
            expected = self.sha256(version)
        except UNREADABLE as error:
            return f"{self._note_of(version).name} is missing or damaged ({in_one_line(error)})"
        try:
            found = sha256_of(self.weights(version))
        except FileNotFoundError:
            return "its weights are missing"
        return None if expected in (None, found) else "its weights are not those that were kept"

    def _remember(self, version: str, problem: str | None, seconds: float = math.inf) -> str | None:
        folder = self.weights(version).parent
        told = problem and f"Model version {version} in {folder} cannot be used: {problem}."
        self._found[version] = self._signature(version), told, time.monotonic() + seconds
        return told

    def _note_of(self, version: str) -> Path:
        """The file that has the hash of a version."""
        weights = self.weights(version)
        return weights.with_name(f"{weights.name}.sha256" if version == PRETRAINED else manifest.FILE)

    def _signature(self, version: str) -> tuple[int, ...]:
        """Changes when a file of the version is replaced or written."""
        return (*_signature(self.weights(version)), *_signature(self._note_of(version)))


def _signature(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError:
        return (0, 0, 0)
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)
