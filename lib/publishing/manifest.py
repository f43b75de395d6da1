"""Manifest of a model version: its origin, and the result of its comparison with the model in use."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from lib.storage.json_values import finite
from lib.storage.state_file import StateFile

FILE = "manifest.json"
VERDICT_FILE = "verdict.json"  # of a later comparison, requested by a user; a manifest is never modified
VERSION = re.compile(r"\d[\d-]*")  # name of the folder of a version
_SEQUENCE = re.compile(r"(\d{5})-\d{8}-\d{6}")


class _Scores(BaseModel):
    model_config = ConfigDict(extra="allow")
    dice: float | None  # null: NaN or infinite
    false_positives: float | None


class _StoredVerdict(BaseModel):
    model_config = ConfigDict(extra="allow")
    publish: bool
    reason: str
    candidate: _Scores | None = None
    published: _Scores | None = None


class _Manifest(BaseModel):
    """The fields that the app relies on; a manifest may have more."""

    model_config = ConfigDict(extra="allow")
    version: str
    parent: str | None = None
    time: float
    sequence: int = 0
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    run: str | None = None
    trained_on: list[str] = []
    folds: dict[str, int] = {}
    fold_sha256: dict[str, str] = {}
    labels: dict[str, str | None] = {}
    verdict: _StoredVerdict | None = None

    @field_validator("time")
    @classmethod
    def _is_a_date(cls, value: float) -> float:
        time.localtime(value)
        return value


def parse(content: Any, version: str) -> dict[str, Any]:
    """Validate the parsed JSON of a manifest and return it.

    Args:
        content: Parsed JSON.
        version: Id of the version.

    Raises:
        ValueError: A field that the app relies on is missing or of a wrong type, or the id does not match.
        OverflowError: The time is not a valid date.
    """
    if _Manifest.model_validate(content, strict=True).version != version:
        raise ValueError(f"it is the manifest of version {content['version']}")
    return content


def read(folder: Path) -> dict[str, Any]:
    """Read the manifest of the version in ``folder``, with the verdict of a later comparison if there is one.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is damaged.
        OverflowError: The file is damaged.
    """
    found = parse(finite(json.loads((folder / FILE).read_text(encoding="utf-8"))), folder.name)
    verdict = verdict_file(folder).read()
    return {**found, "verdict": verdict} if verdict else found


def verdict_file(folder: Path) -> StateFile[dict[str, Any]]:
    """Return the file with the verdict of a later comparison of the version in ``folder``."""
    return StateFile(
        folder / VERDICT_FILE, _verdict, "The verdict in the manifest is shown instead; repeat the comparison."
    )


def _verdict(content: Any) -> dict[str, Any]:
    _StoredVerdict.model_validate(content, strict=True)
    return content


def order(manifest: dict[str, Any]) -> tuple[int, float, str]:
    """Return the sort key for the order of creation, independent of the clock; older releases' versions come first."""
    return manifest.get("sequence", 0), manifest["time"], manifest["version"]


def sequence_of(version: str) -> int:
    """Return the number at the start of a version's id; 0 for versions of older releases."""
    found = _SEQUENCE.fullmatch(version)
    return int(found[1]) if found else 0


def new_version(sequence: int) -> str:
    """Return the id of a new version: its number, date and time."""
    return f"{sequence:05d}-{time.strftime('%Y%m%d-%H%M%S')}"


def outcome(manifest: dict[str, Any]) -> str:
    """Return the result of the comparison with the model in use, in a few words."""
    verdict = manifest.get("verdict")
    if verdict is None or not verdict.get("candidate"):
        return "not measured"
    if verdict.get("outcome") == "kept":
        return "you decide"
    return "better" if verdict["publish"] else "refused"
