"""The weights: the shipped ones, every version kept since, and which one serves."""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from filelock import FileLock
from torch import nn

from lib.errors import UserError
from lib.networks.weights import load_state, state_of
from lib.publishing import manifest
from lib.publishing.history import History
from lib.publishing.kept_versions import DRAFT, PRETRAINED, PRETRAINED_FILE, KeptVersions
from lib.storage.atomic import make_folder, remove_leftovers
from lib.storage.integrity import Damage, DamagedFileError
from lib.storage.state_file import UNREADABLE, StateFile, move_aside

logger = logging.getLogger(__name__)

_NO_MODEL = (
    "There is no trained model in use, so there is nothing to predict with. Label some images and train; where a "
    "trained version is kept already, let it serve with Use it in OHIF's panel or python main.py models."
)


@dataclass(frozen=True)
class Serving:
    """The version in use.

    Attributes:
        version: Its id; None if there are no weights that can be used.
        path: Of its weights; None likewise.
        sha256: Of its weights; None where none was noted, as by older releases: they are not verified.
        problem: Why this is not the version that was chosen to serve, a sentence; None if it is.
    """

    version: str | None
    path: Path | None
    sha256: str | None
    problem: str | None


class ModelStore:
    """Versions in ``versions/<id>/`` with weights and manifest; ``serving.json`` names the one in use.

    A version appears whole or not at all, and is never changed. Its manifest has the SHA-256 of its weights, which is
    compared whenever they are loaded. Where the version that was chosen is damaged, the version that it was trained
    from serves, or that one's, or the shipped one; the choice itself stays.

    Args:
        folder: ``models/`` of the workspace.
        shipped: Weights file that comes with the app (default: in ``folder``); only read, and it may be missing.
    """

    def __init__(self, folder: Path, shipped: Path | None = None) -> None:
        self.folder = folder
        self._versions = KeptVersions(folder / "versions", shipped or folder / PRETRAINED_FILE)
        self._choice = StateFile(folder / "serving.json", _choice, "The history of the versions is used instead.")
        self._history = History(folder / "history.jsonl")
        self._lock = FileLock(folder / ".lock")
        self._told: str | None = None

    def serving(self) -> Serving:
        """Return the version in use: the one chosen, or where it is damaged, what it came from."""
        chosen, problem = self._chosen()
        problems = [problem] if problem else []
        for version in self._ancestry(chosen):
            if version == PRETRAINED and not self._has_shipped():
                break
            fault = self._versions.fault(version)
            if fault is None:
                told = " ".join([*problems, f"Version {version} is in use."]) if problems else None
                return self._told_once(Serving(version, self.weights(version), self._sha256(version), told))
            problems.append(fault)
        told = " ".join([*problems, "No model is in use."]) if problems else None
        return self._told_once(Serving(None, None, None, told))

    def serving_version(self) -> str | None:
        """Return the id of the version in use; None if there are no weights that can be used."""
        return self.serving().version

    def serving_weights(self) -> Path | None:
        """Return the weights file in use; None if there is none."""
        return self.serving().path

    def history(self) -> list[dict[str, Any]]:
        """Return who let which version serve and why, oldest first: ``from``, ``to``, ``by``, ``why``, ``time``."""
        return self._history.entries()

    def previous_version(self) -> str | None:
        """Return the id of the version that was chosen before the one that is now; None if there was none."""
        entries = self.history()
        return entries[-1]["from"] if entries else None

    def serve(self, version: str, by: str = "", why: str = "") -> None:
        """Let a kept version, or the shipped one, serve from now on; the history tells who wanted it and why.

        Raises:
            LookupError: There is none of this id.
            DamagedFileError: It is damaged.
        """
        if version not in self._versions.ids() and not (version == PRETRAINED and self._has_shipped()):
            raise LookupError(f"There is no model version {version!r} in {self.folder}.")
        if fault := self._versions.fault(version):
            raise DamagedFileError(Damage("model version", self.weights(version), f"{fault} It cannot serve."))
        make_folder(self.folder)
        with self._lock:
            before, problem = self._chosen()
            former = before if before != PRETRAINED or self._has_shipped() else None
            if former == version and not problem:
                return
            self._complete_history()
            entry = {"from": former, "to": version, "by": by, "why": why, "time": time.time()}
            self._choice.write({"version": version, "since": entry["time"], "entry": entry})
            self._history.append(entry)
        logger.info("Version %s serves, no longer %s: %s (%s)", version, former, why or "chosen", by or "unnamed")

    def read_serving(self) -> tuple[Serving, bytes]:
        """Read the weights in use, compared with their hash; where they are damaged, those that serve instead.

        Raises:
            UserError: There are none.
        """
        while (serving := self.serving()).version:
            try:
                content = self.weights(serving.version).read_bytes()
            except OSError as error:
                self._versions.refuse_unreadable(serving.version, error)
                continue
            if serving.sha256 in (None, hashlib.sha256(content).hexdigest()):
                return serving, content
            self._versions.refuse(serving.version, "its weights are not those that were kept")
        raise UserError(serving.problem or _NO_MODEL, HTTPStatus.CONFLICT)

    def read(self, version: str) -> bytes:
        """Read the weights of a version, compared with their hash.

        Raises:
            DamagedFileError: They are damaged or missing.
        """
        fault = self._versions.fault(version)
        content = b"" if fault else self.weights(version).read_bytes()
        if fault or self._sha256(version) not in (None, hashlib.sha256(content).hexdigest()):
            fault = fault or self._versions.refuse(version, "its weights are not those that were kept")
            raise DamagedFileError(Damage("model version", self.weights(version), str(fault)))
        return content

    def load_serving(self, network: nn.Module) -> Serving:
        """Load the weights in use into ``network``, in place, from the very bytes whose hash was compared.

        Raises:
            UserError: There are none, or they are of another network.
        """
        while True:
            serving, content = self.read_serving()
            try:
                state = state_of(content)
            except ValueError as error:  # of an older release, without a hash
                self._versions.refuse(str(serving.version), f"its weights cannot be read ({error})")
                continue
            try:
                load_state(network, state)
            except ValueError as error:
                raise UserError(
                    f"Version {serving.version} has the weights of another network than this app's: it is of another "
                    f"release, or `network` in info.yaml was changed ({error}). Let another one serve: "
                    "python main.py models --workspace DIR --serve pretrained",
                    HTTPStatus.CONFLICT,
                ) from error
            return serving

    @property
    def runs(self) -> Path:
        """Folder for the temporary files of trainings."""
        return self.folder / "runs"

    def weights(self, version: str) -> Path:
        """Weights file of a version."""
        return self._versions.weights(version)

    def manifests(self) -> list[dict[str, Any]]:
        """How each version came about, in the order in which they were kept.

        The shipped weights are no version of their own; those with a damaged manifest are in `damage`.
        """
        found = (self._versions.manifest(version) for version in self._versions.ids())
        return sorted((one for one in found if one), key=manifest.order)

    def keep(self, weights: Path, origin: dict[str, Any]) -> str:
        """Keep ``weights`` as a new version. It does not serve yet.

        Args:
            weights: A finished file; it is copied.
            origin: How it came about, for its manifest; ``parent`` is the version in use if it names none.

        Returns:
            Id of the new version.
        """
        make_folder(self._versions.folder)
        with self._lock:
            sequence = self._versions.next_sequence()
            version = manifest.new_version(sequence)
            facts = {"version": version, "sequence": sequence, "time": time.time()}
            known = {"parent": self.serving_version(), **origin, **facts}
            self._versions.write(version, lambda part: shutil.copyfile(weights, part), known)
        return version

    def note_verdict(self, version: str, verdict: dict[str, Any]) -> None:
        """Note what a comparison of a kept version came to; its manifest stays as it is."""
        manifest.verdict_file(self.weights(version).parent).write(verdict)

    def adopt(self, weights: Path, origin: dict[str, Any]) -> None:
        """Keep a version of another store under its own id.

        Args:
            weights: Of the version; they are copied.
            origin: Its manifest.
        """
        make_folder(self._versions.folder)
        with self._lock:
            self._versions.write(origin["version"], lambda part: shutil.copyfile(weights, part), origin)

    def damage(self) -> list[Damage]:
        """Return what is damaged: versions, the shipped weights, and the files that say what serves.

        Each file is read once and again when it changed; a new process reads all of them.
        """
        state = (self._choice.damage(), self._history.damage())
        return [*(one for one in state if one), *self._versions.damage()]

    def recover(self) -> None:
        """Mend what a crash or a person left, at the start of the server: half a version, temporary files, state."""
        for folder in (self.folder, self._versions.folder, self.runs):
            if not folder.is_dir() and (folder.exists() or folder.is_symlink()):
                logger.warning("%s is no folder. It is kept as %s.", folder, move_aside(folder).name)
            make_folder(folder)
        with self._lock:
            remove_leftovers(self.folder)
            remove_leftovers(self._versions.folder)
            chosen, _ = self._chosen()
            if self._choice.move_damaged_aside():
                self._choice.write({"version": chosen, "since": time.time()})
            self._complete_history()
        self.serving()  # logs what is wrong

    def remove_drafts(self) -> None:
        """Remove what a process left that was killed while it kept a version."""
        if self._versions.folder.is_dir():
            with self._lock:
                shutil.rmtree(self._versions.folder / DRAFT, ignore_errors=True)

    def _chosen(self) -> tuple[str, str | None]:
        """The version that is to serve, and what is wrong with the note of it."""
        if choice := self._choice.read():
            return choice["version"], None
        damage, entries = self._choice.damage(), self._history.entries()
        return entries[-1]["to"] if entries else PRETRAINED, damage.problem if damage else None

    def _complete_history(self) -> None:
        """Add the line of a choice whose process was killed before it was written."""
        choice, entries = self._choice.read(), self._history.entries()
        entry = choice and choice.get("entry")
        if entry and (not entries or entries[-1] != entry):
            self._history.append(entry)

    def _ancestry(self, version: str) -> Iterator[str]:
        """A version, the one that it was trained from, the one before that …, the shipped one.

        Where a manifest is damaged, what served before the version stands for its parent.
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
        except UNREADABLE:  # damaged since it was examined: nothing has this hash, so the next look finds it
            return ""

    def _told_once(self, serving: Serving) -> Serving:
        """Log why another version serves than the one chosen, once."""
        if serving.problem and serving.problem != self._told:
            logger.error("%s", serving.problem)
        self._told = serving.problem
        return serving


def _choice(content: Any) -> dict[str, Any]:
    """Check what ``serving.json`` says."""
    version, entry = content["version"], content.get("entry")
    if version != PRETRAINED and not manifest.VERSION.fullmatch(version):
        raise ValueError("it names no version")
    if entry is not None and (entry["to"] != version or not isinstance(entry["from"], str | None)):
        raise ValueError("its entry is of another version")
    return content
