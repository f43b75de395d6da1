"""Manifest of a training run: data with checksums, patients on either side, settings, versions and progress.

It is ``manifest.json`` beside the ``model.pt`` of a run, and ``<name>.json`` beside weights under another name, such as
the shipped ones. The manifest of a run that started from the weights of another one contains that one's.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import monai
import torch

from lib import __version__
from lib.errors import UserError, in_one_line
from lib.settings import APP_DIR, load_info
from lib.storage.integrity import sha256_of
from lib.storage.state_file import UNREADABLE
from lib.training.run_settings import LoopSettings

FILE = "manifest.json"
WEIGHTS = "model.pt"
_LOSS = ("loss_lambda", "focal_gamma", "focal_alpha")
_IDENTITY = ("settings", "left_out", "checksums", "data")
_SECTIONS = ("network", "preprocessing")


class LearnedData(Protocol):
    """What a run learns from, for its manifest."""

    @property
    def patients(self) -> set[str]:
        """Patients to train on."""

    @property
    def left_out(self) -> frozenset[str]:
        """Patients left out on request."""

    @property
    def checksums(self) -> Sequence[Mapping[str, str]]:
        """SHA-256 of all files."""

    def names(self) -> dict[str, Any]:
        """Return the names of the images."""


def info_as_trained(weights: Path, sections: Sequence[str]) -> dict[str, Any]:
    """Return ``info.yaml`` with the given sections as in the manifest of some weights, where it has them."""
    settings = (manifest_of(weights) or {}).get("settings", {})
    return load_info() | {name: settings[name] for name in sections if name in settings}


def manifest_of(weights: Path) -> dict[str, Any] | None:
    """Return the manifest beside a file of weights; None if there is none.

    Raises:
        UserError: It is damaged.
    """
    beside = (weights.with_suffix(".json"), weights.with_name(FILE))
    found = next((path for path in beside if path.is_file()), None)
    return read_json_object(found) if found else None


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the content of a file that a training wrote.

    Raises:
        UserError: It is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
    except UNREADABLE as error:
        raise UserError(
            f"{path} is damaged ({in_one_line(error)}). Restore it from a copy, or delete it to train again."
        ) from error
    return content


def settings_of(
    settings: LoopSettings, info: Mapping[str, Any], initial: Path | None, sections: Sequence[str] = _SECTIONS
) -> dict[str, Any]:
    """Return the entry ``settings``: everything that determines the weights, apart from the data.

    Args:
        settings: Settings of the run.
        info: ``info.yaml``.
        initial: Initial weights; None if they are random.
        sections: Sections of ``info.yaml`` that describe the network and its input.
    """
    chosen = {
        **{section: info[section] for section in sections},
        "loss": {name: info["config"]["train"][name] for name in _LOSS},
        **settings.model_dump(exclude={"save_every"}),
        "initial": sha256_of(initial) if initial else None,
    }
    return json.loads(json.dumps(chosen))  # as it is read again


def new_manifest(
    data: LearnedData,
    settings: LoopSettings,
    info: Mapping[str, Any],
    initial: Path | None,
    sections: Sequence[str] = _SECTIONS,
) -> dict[str, Any]:
    """Return the manifest of a run before its first step.

    ``trained_on`` has the patients of the run and of all runs that its initial weights come from.

    Raises:
        UserError: The initial weights have no manifest, so that their patients are unknown.
    """
    before = _manifest_of_initial(initial) if initial else None
    return {
        "trained_on": sorted(data.patients.union(before["trained_on"] if before else ())),
        "left_out": sorted(data.left_out),
        "data": data.names(),
        "checksums": [dict(one) for one in data.checksums],
        "settings": settings_of(settings, info, initial, sections),
        "initial": before,
        "versions": _versions(),
        "history": [],
    }


def read_run(folder: Path, expected: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the manifest of the run in a folder; None if there is none.

    Args:
        folder: Folder of the run.
        expected: Entries of the manifest that the run must have: ``settings``, ``left_out``, ``checksums``, and those
            entries of ``data`` that are known without reading it.

    Raises:
        UserError: The run has other settings or data.
    """
    found = manifest_of(folder / WEIGHTS)
    different = [name for name in _IDENTITY if found and name in expected and _differs(name, found, expected)]
    if different:
        raise UserError(
            f"{folder} contains a run with other settings or data (see {', '.join(different)} in its {FILE}). Give "
            "another --output, or delete it."
        )
    return found


def _differs(name: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    if name != "data":
        return found.get(name) != expected[name]
    return any(found.get("data", {}).get(key) != value for key, value in expected["data"].items())


def is_finished(folder: Path, manifest: Mapping[str, Any] | None) -> bool:
    """Return whether the run in a folder did all its steps, and its weights are those it wrote."""
    if not manifest or not manifest["history"] or manifest["history"][-1]["step"] < manifest["settings"]["steps"]:
        return False
    weights = folder / WEIGHTS
    return weights.is_file() and sha256_of(weights) == manifest["sha256"]


def refuse_trained_on(weights: str, manifest: Mapping[str, Any], patients: Collection[str]) -> None:
    """Check that weights never saw patients, neither in their own run nor in those of their initial weights.

    Args:
        weights: Name of the weights, for the message.
        manifest: Their manifest.
        patients: Patients that the weights are to be measured on.

    Raises:
        UserError: The weights were trained on some of the patients; the message names them.
    """
    both = sorted(set(patients) & set(manifest["trained_on"]))
    if both:
        raise UserError(f"{weights} cannot be measured on {', '.join(both)}: these weights were trained on them.")


def _manifest_of_initial(initial: Path) -> dict[str, Any]:
    """Return the manifest of initial weights, without the course of their training."""
    if not initial.is_file():
        raise UserError(f"There are no weights at {initial}.")
    found = manifest_of(initial)
    if found is None or "trained_on" not in found:
        raise UserError(
            f"{initial} has no manifest with the patients it was trained on (trained_on), so nobody could tell which "
            f"patients the new weights never saw. Copy the {FILE} of its run beside it."
        )
    return {name: value for name, value in found.items() if name != "history"}


def _versions() -> dict[str, str | None]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": monai.__version__,
        "lunglabel": __version__,
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Return the commit of the checkout, with ``-dirty`` if files were changed; None without git or a checkout."""
    if not (APP_DIR / ".git").exists():
        return None
    command = ["git", "-C", str(APP_DIR), "describe", "--always", "--dirty", "--tags"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
