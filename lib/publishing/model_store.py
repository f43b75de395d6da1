"""Store of the model versions: the shipped weights, every trained version, and the choice of the one in use."""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Any

from filelock import FileLock
from torch import nn

from lib.errors import UserError
from lib.networks.weights import load_state, state_of
from lib.publishing import manifest
from lib.publishing.history import History
from lib.publishing.version_files import DRAFT, PRETRAINED, PRETRAINED_FILE, VersionFiles
from lib.storage.atomic import make_folder, remove_leftovers
from lib.storage.integrity import Damage, DamagedFileError
from lib.storage.state_file import UNREADABLE, StateFile, move_aside

logger = logging.getLogger(__name__)

_NO_MODEL = (
    "There is no trained model in use, so no prediction is possible. Label some images and train; if a trained version "
    "exists already, put it into use with Use it in OHIF's panel or python main.py models."
)


@dataclass(frozen=True)
class Serving:
    """The version in use.

    Attributes:
        version: Id of the version; None if there are no usable weights.
        path: Path of the weights; None if there are none.
        sha256: Checksum of the weights; None if none was recorded, as by older releases: then they are not verified.
        problem: Message that says why this is not the chosen version; None if it is.
    """

    version: str | None
    path: Path | None
    sha256: str | None
    problem: str | None


class ModelStore:
    """Versions in ``versions/<id>/`` with weights and manifest; ``serving.json`` names the one in use.

    Versions are added atomically and never modified. The manifest has the SHA-256 of the weights, which is verified
    whenever they are loaded. If the chosen version is damaged, the nearest intact ancestor is used: the version it was
    trained from, that one's parent and so on, at last the shipped one; the choice itself is kept.

    Args:
        folder: ``models/`` of the workspace.
        shipped: Weights file of the app (default: in ``folder``); read-only, may be missing.
    """

    def __init__(self, folder: Path, shipped: Path | None = None) -> None:
        self.folder = folder
        self._versions = VersionFiles(folder / "versions", shipped or folder / PRETRAINED_FILE)
        self._choice = StateFile(folder / "serving.json", _choice, "The history of the versions is used instead.")
        self._history = History(folder / "history.jsonl")
        self._lock = FileLock(folder / ".lock")
        self._reported: str | None = None

    def serving(self) -> Serving:
        """Return the version in use: the chosen one, or its nearest intact ancestor."""
        chosen, problem = self._load_choice()
        problems = [problem] if problem else []
        for version in self._ancestry(chosen):
            if version == PRETRAINED and not self._has_shipped():
                break
            fault = self._versions.fault(version)
            if fault is None:
                message = " ".join([*problems, f"Version {version} is in use."]) if problems else None
                return self._log_once(Serving(version, self.weights(version), self._sha256(version), message))
            problems.append(fault)
        message = " ".join([*problems, "No model is in use."]) if problems else None
        return self._log_once(Serving(None, None, None, message))

    def serving_version(self) -> str | None:
        """Return the id of the version in use; None if there are no usable weights."""
        return self.serving().version

    def serving_weights(self) -> Path | None:
        """Return the path of the weights in use; None if there are none."""
        return self.serving().path

    def history(self) -> list[dict[str, Any]]:
        """Return the changes of the version in use, oldest first: ``from``, ``to``, ``by``, ``why``, ``time``."""
        entries = self._history.entries()
        missing = self._missing_entry(entries)
        return [*entries, missing] if missing else entries

    def previous_version(self) -> str | None:
        """Return the id of the previously chosen version; None if there is none."""
        entries = self.history()
        return entries[-1]["from"] if entries else None

    def serve(self, version: str, by: str = "", why: str = "") -> None:
        """Put a version into use, and record user and reason in the history.

        Raises:
            LookupError: There is no version with this id.
            DamagedFileError: The version is damaged.
        """
        if version not in self._versions.ids() and not (version == PRETRAINED and self._has_shipped()):
            raise LookupError(f"There is no model version {version!r} in {self.folder}.")
        if fault := self._versions.fault(version):
            raise DamagedFileError(Damage("model version", self.weights(version), f"{fault} Choose another version."))
        make_folder(self.folder)
        with self._lock:
            before, problem = self._load_choice()
            former = before if before != PRETRAINED or self._has_shipped() else None
            if former == version and not problem:
                return
            self._complete_history()
            entry = {"from": former, "to": version, "by": by, "why": why, "time": time.time()}
            self._choice.write({"version": version, "since": entry["time"], "entry": entry})
            self._history.append(entry)
        logger.info("Version %s replaces %s: %s (%s)", version, former, why or "chosen", by or "unnamed")

    def read_serving(self) -> tuple[Serving, bytes]:
        """Read and verify the weights in use; if they are damaged, those of the nearest intact ancestor.

        Raises:
            UserError: There are no usable weights.
        """
        while (serving := self.serving()).version:
            try:
                content = self.weights(serving.version).read_bytes()
            except OSError as error:
                self._versions.mark_unreadable(serving.version, error)
                continue
            if serving.sha256 in (None, hashlib.sha256(content).hexdigest()):
                return serving, content
            self._versions.mark_damaged(serving.version, "its weights do not match their checksum")
        raise UserError(serving.problem or _NO_MODEL, HTTPStatus.CONFLICT)

    def read(self, version: str) -> bytes:
        """Read and verify the weights of a version.

        Raises:
            DamagedFileError: The weights are damaged or missing.
        """
        fault = self._versions.fault(version)
        content = b"" if fault else self.weights(version).read_bytes()
        if fault or self._sha256(version) not in (None, hashlib.sha256(content).hexdigest()):
            fault = fault or self._versions.mark_damaged(version, "its weights do not match their checksum")
            raise DamagedFileError(Damage("model version", self.weights(version), str(fault)))
        return content

    def load_serving(self, network: nn.Module) -> tuple[Serving, bytes]:
        """Load the weights in use into ``network`` in place, from the same verified bytes that are returned.

        Raises:
            UserError: There are no usable weights, or they belong to another network.
        """
        while True:
            serving, content = self.read_serving()
            try:
                state = state_of(content)
            except ValueError as error:  # damaged weights of an older release, without a checksum
                self._versions.mark_damaged(str(serving.version), f"its weights cannot be read ({error})")
                continue
            try:
                load_state(network, state)
            except ValueError as error:
                raise UserError(
                    f"The weights of version {serving.version} do not fit this app's network: the version is of "
                    f"another release, or `network` in info.yaml was changed ({error}). Put another version into use: "
                    "python main.py models --workspace DIR --serve pretrained",
                    HTTPStatus.CONFLICT,
                ) from error
            return serving, content

    def origin(self, version: str) -> str:
        """Return the version that the trainings up to this one started from: shipped, uploaded or adopted.

        Without one, because the first training started from random weights, it is the version of that training; if the
        origin is damaged, ``version`` itself.
        """
        for one in self._ancestry(version):
            known = self._versions.manifest(one)
            trained_here = known and "run" in known and "adopted_from" not in known
            if one == PRETRAINED or (known and not (trained_here and known.get("parent"))):
                return version if self._versions.fault(one) else one
        return version

    @property
    def runs(self) -> Path:
        """Folder for the temporary files of training runs."""
        return self.folder / "runs"

    def weights(self, version: str) -> Path:
        """Return the path of the weights of a version."""
        return self._versions.weights(version)

    def manifests(self) -> list[dict[str, Any]]:
        """Return the manifest of each version in order of creation.

        The shipped weights have no manifest; versions with a damaged one are in `damage`.
        """
        found = (self._versions.manifest(version) for version in self._versions.ids())
        return sorted((one for one in found if one), key=manifest.order)

    def manifest(self, version: str) -> dict[str, Any] | None:
        """Return the manifest of a version; None if it is missing or damaged, as of the shipped weights."""
        return self._versions.manifest(version)

    def keep(self, weights: Path, origin: dict[str, Any], folds: Mapping[int, Path] = MappingProxyType({})) -> str:
        """Store ``weights`` as a new version, without putting it into use.

        Args:
            weights: Weights file; it is copied.
            origin: Content of the manifest; ``parent`` defaults to the version in use.
            folds: Weights file of each fold, see `Folds`; it is copied.

        Returns:
            Id of the new version.
        """
        make_folder(self._versions.folder)
        with self._lock:
            sequence = self._versions.next_sequence()
            version = manifest.new_version(sequence)
            facts = {"version": version, "sequence": sequence, "time": time.time()}
            known = {"parent": self.serving_version(), **origin, **facts}
            self._versions.write(version, weights, folds, known)
        return version

    def fold_weights(self, version: str) -> dict[int, Path]:
        """Return the intact weights of each fold of a version, see `Folds`; the shipped ones have none."""
        return self._versions.fold_weights(version)

    def write_verdict(self, version: str, verdict: dict[str, Any]) -> None:
        """Write the verdict of a later comparison next to the manifest, which is not modified."""
        manifest.verdict_file(self.weights(version).parent).write(verdict)

    def adopt(self, source: Path, origin: dict[str, Any]) -> None:
        """Copy a version of another store under the same id.

        Args:
            source: Folder of the version.
            origin: Manifest of the version.
        """
        make_folder(self._versions.folder)
        with self._lock:
            self._versions.copy(source, origin)

    def damage(self) -> list[Damage]:
        """Return the damage to versions, shipped weights, the choice and the history.

        Within a process, a file is read again only after it changed.
        """
        state = (self._choice.damage(), self._history.damage())
        return [*(one for one in state if one), *self._versions.damage()]

    def recover(self) -> None:
        """Repair the store at server start: remove partial versions and temporary files, restore damaged state."""
        for folder in (self.folder, self._versions.folder, self.runs):
            if not folder.is_dir() and (folder.exists() or folder.is_symlink()):
                logger.warning("%s is not a folder; it is kept as %s.", folder, move_aside(folder).name)
            make_folder(folder)
        with self._lock:
            remove_leftovers(self.folder)
            remove_leftovers(self._versions.folder)
            chosen, _ = self._load_choice()
            if self._choice.move_damaged_aside():
                self._choice.write({"version": chosen, "since": time.time()})
            self._complete_history()
        self.serving()  # logs problems

    def remove_drafts(self) -> None:
        """Remove the partial version of a killed process."""
        if self._versions.folder.is_dir():
            with self._lock:
                shutil.rmtree(self._versions.folder / DRAFT, ignore_errors=True)

    def _load_choice(self) -> tuple[str, str | None]:
        """Return the chosen version, from the history if ``serving.json`` is damaged, and a message about that."""
        if choice := self._choice.read():
            return choice["version"], None
        damage, entries = self._choice.damage(), self._history.entries()
        return entries[-1]["to"] if entries else PRETRAINED, damage.problem if damage else None

    def _complete_history(self) -> None:
        if entry := self._missing_entry(self._history.entries()):
            self._history.append(entry)

    def _missing_entry(self, entries: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Return the entry of the current choice if a process was killed before it could append it to ``entries``."""
        choice = self._choice.read()
        entry = choice.get("entry") if choice else None
        return entry if entry and (not entries or entries[-1] != entry) else None

    def _ancestry(self, version: str) -> Iterator[str]:
        """Yield a version, its parent, that one's parent and so on, and at last the shipped one.

        If a manifest is damaged, the version that was in use before counts as the parent.
        """
        served_before = {entry["to"]: entry["from"] for entry in self._history.entries()}
        seen = {PRETRAINED}
        while version not in seen:
            yield version
            seen.add(version)
            known = self._versions.manifest(version)
            version = (known.get("parent") if known else served_before.get(version)) or PRETRAINED
        yield PRETRAINED

    def _has_shipped(self) -> bool:
        return self.weights(PRETRAINED).exists()

    def _sha256(self, version: str) -> str | None:
        try:
            return self._versions.sha256(version)
        except UNREADABLE:  # damaged since it was examined; nothing matches "", so the next check detects it
            return ""

    def _log_once(self, serving: Serving) -> Serving:
        """Log once why the version in use is not the chosen one."""
        if serving.problem and serving.problem != self._reported:
            logger.error("%s", serving.problem)
        self._reported = serving.problem
        return serving


def _choice(content: Any) -> dict[str, Any]:
    """Validate the content of ``serving.json``."""
    version, entry = content["version"], content.get("entry")
    if version != PRETRAINED and not manifest.VERSION.fullmatch(version):
        raise ValueError("it names no version")
    if entry is not None and (entry["to"] != version or not isinstance(entry["from"], str | None)):
        raise ValueError("its entry is of another version")
    return content
