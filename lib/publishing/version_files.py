"""Files of the model versions, and their integrity."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lib.errors import in_one_line
from lib.publishing import manifest
from lib.publishing.shipped_patients import ShippedPatients
from lib.storage.atomic import sync_folder, write_atomically, write_json
from lib.storage.integrity import Damage, sha256_of
from lib.storage.state_file import UNREADABLE

PRETRAINED = "pretrained"
PRETRAINED_FILE = "pretrained_lung_tumor.pt"
DRAFT = ".part-version"
WEIGHTS_FILE = "model.pt"
_RETRY_SECONDS = 30  # after an I/O error, which may be transient


class VersionFiles:
    """Folders ``<id>/`` with weights and manifest, and the shipped weights as version ``pretrained``.

    Args:
        folder: Folder of the versions.
        shipped: The shipped weights, verified against ``<name>.sha256`` in the same folder, in ``sha256sum`` format.
    """

    def __init__(self, folder: Path, shipped: Path) -> None:
        self.folder = folder
        self._shipped = shipped
        self._faults: dict[str, tuple[tuple[int, ...], str | None, float]] = {}

    def ids(self) -> list[str]:
        """Return the id of each stored version, damaged or not."""
        try:
            names = [path.name for path in self.folder.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in names if manifest.VERSION.fullmatch(name))

    def weights(self, version: str) -> Path:
        """Return the path of the weights of a version."""
        return self._shipped if version == PRETRAINED else self.folder / version / WEIGHTS_FILE

    def manifest(self, version: str) -> dict[str, Any] | None:
        """Return the manifest of a version; None if it is missing or damaged."""
        try:
            return manifest.read(self.folder / version)
        except UNREADABLE:
            return None

    def next_sequence(self) -> int:
        """Return the number of the next version: one more than the highest, including damaged versions."""
        from_names = [manifest.sequence_of(version) for version in self.ids()]
        from_manifests = [(self.manifest(version) or {}).get("sequence", 0) for version in self.ids()]
        return 1 + max([*from_names, *from_manifests], default=0)

    def sha256(self, version: str) -> str | None:
        """Return the recorded checksum of a version's weights; None if there is none.

        Raises:
            ValueError: The record is damaged.
            OSError: The record cannot be read.
        """
        if version != PRETRAINED:
            return manifest.read(self.folder / version).get("sha256")
        try:
            recorded = self._checksum_file(version).read_text(encoding="ascii").split()
        except FileNotFoundError:
            return None
        if not recorded or len(recorded[0]) != 64:
            raise ValueError("it has no checksum")
        return recorded[0]

    def fault(self, version: str) -> str | None:
        """Return what is wrong with a version; None if it is intact. Unchanged files are not read again."""
        signature = self._signature(version)
        known = self._faults.get(version)
        if known and known[0] == signature and time.monotonic() < known[2]:
            return known[1]
        try:
            return self._cache_fault(version, self._examine(version))
        except OSError as error:
            return self.mark_unreadable(version, error)

    def mark_damaged(self, version: str, problem: str) -> str | None:
        """Treat a version as damaged until its files change; return the message."""
        return self._cache_fault(version, problem)

    def mark_unreadable(self, version: str, error: OSError) -> str | None:
        """Treat a version as damaged for 30 s, since an I/O error may be transient; return the message."""
        return self._cache_fault(version, f"its weights cannot be read ({in_one_line(error)})", _RETRY_SECONDS)

    def damage(self) -> list[Damage]:
        """Return the damage to each version that cannot be used."""
        shipped = [PRETRAINED] if self._shipped.exists() else []
        faults = [(version, self.fault(version)) for version in (*shipped, *self.ids())]
        remedy = "It is not used. Restore its files from a backup, or train again."
        damaged = [Damage("model version", self.weights(one), f"{fault} {remedy}") for one, fault in faults if fault]
        verdicts = (manifest.verdict_file(self.folder / version).damage() for version in self.ids())
        others = (ShippedPatients(self._shipped).damage(), *verdicts)
        return [*damaged, *(one for one in others if one)]

    def write(self, version: str, weights: Path, folds: Mapping[int, Path], facts: dict[str, Any]) -> None:
        """Add a version atomically.

        Args:
            version: Id of the version.
            weights: Weights file; it is copied.
            folds: Weights file of each fold, which is copied too.
            facts: Content of the manifest; the checksums of the weights are added.
        """
        draft = self.folder / DRAFT
        shutil.rmtree(draft, ignore_errors=True)  # left by a killed process
        draft.mkdir()
        for name, source in {WEIGHTS_FILE: weights, **{_fold_file(fold): one for fold, one in folds.items()}}.items():
            write_atomically(draft / name, partial(shutil.copyfile, source))
        checksums = {
            "sha256": sha256_of(draft / WEIGHTS_FILE),
            "fold_sha256": {str(fold): sha256_of(draft / _fold_file(fold)) for fold in sorted(folds)},
        }
        write_json(draft / manifest.FILE, {**facts, **checksums})
        draft.rename(self.folder / version)
        sync_folder(self.folder)

    def copy(self, source: Path, facts: dict[str, Any]) -> None:
        """Add a version of another store; see `write`."""
        folds = {int(fold): source / _fold_file(int(fold)) for fold in facts.get("fold_sha256", {})}
        present = {fold: path for fold, path in folds.items() if path.is_file()}
        self.write(facts["version"], source / WEIGHTS_FILE, present, facts)

    def fold_weights(self, version: str) -> dict[int, Path]:
        """Return the intact weights of each fold of a version."""
        checksums = (self.manifest(version) or {}).get("fold_sha256", {})
        files = {int(fold): (self.folder / version / _fold_file(int(fold)), one) for fold, one in checksums.items()}
        return {fold: path for fold, (path, one) in files.items() if path.is_file() and sha256_of(path) == one}

    def _examine(self, version: str) -> str | None:
        try:
            expected = self.sha256(version)
        except UNREADABLE as error:
            return f"{self._checksum_file(version).name} is missing or damaged ({in_one_line(error)})"
        try:
            found = sha256_of(self.weights(version))
        except FileNotFoundError:
            return "its weights are missing"
        return None if expected in (None, found) else "its weights do not match their checksum"

    def _cache_fault(self, version: str, problem: str | None, seconds: float = math.inf) -> str | None:
        folder = self.weights(version).parent
        message = problem and f"Model version {version} in {folder} cannot be used: {problem}."
        self._faults[version] = self._signature(version), message, time.monotonic() + seconds
        return message

    def _checksum_file(self, version: str) -> Path:
        """Return the file that has the checksum of a version."""
        weights = self.weights(version)
        return weights.with_name(f"{weights.name}.sha256" if version == PRETRAINED else manifest.FILE)

    def _signature(self, version: str) -> tuple[int, ...]:
        """Return a value that changes when a file of the version is replaced or written."""
        return (*_signature(self.weights(version)), *_signature(self._checksum_file(version)))


def _fold_file(fold: int) -> str:
    return f"fold-{fold}.pt"


def _signature(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError:
        return (0, 0, 0)
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)
