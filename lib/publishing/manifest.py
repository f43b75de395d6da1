"""How a version came about: the manifest beside its weights."""

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
VERDICT_FILE = "verdict.json"  # of a comparison that somebody asked for later; a manifest never changes
VERSION = re.compile(r"\d[\d-]*")  # what a folder of a version is called
_SEQUENCE = re.compile(r"(\d{5})-\d{8}-\d{6}")


class _Scores(BaseModel):
    model_config = ConfigDict(extra="allow")
    dice: float | None  # null: it was not a number
    false_positives: float | None


class _StoredVerdict(BaseModel):
    model_config = ConfigDict(extra="allow")
    publish: bool
    reason: str
    candidate: _Scores | None = None
    published: _Scores | None = None


class _Manifest(BaseModel):
    """What the app relies on; a manifest may say more."""

    model_config = ConfigDict(extra="allow")
    version: str
    parent: str | None = None
    time: float
    sequence: int = 0
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    run: str | None = None
    trained_on: list[str] = []
    held_out: list[str] = []
    labels: dict[str, str | None] = {}
    verdict: _StoredVerdict | None = None

    @field_validator("time")
    @classmethod
    def _is_a_date(cls, value: float) -> float:
        time.localtime(value)
        return value


def parse(content: Any, version: str) -> dict[str, Any]:
    """Check the parsed JSON of a manifest, and return it.

    Args:
        content: Parsed JSON.
        version: Whose it is.

    Raises:
        ValueError: A field that the app relies on is missing, of another type, or of another version.
        OverflowError: Its time is no date.
    """
    if _Manifest.model_validate(content, strict=True).version != version:
        raise ValueError(f"it is the manifest of version {content['version']}")
    return content


def read(folder: Path) -> dict[str, Any]:
    """Read the manifest of the version in ``folder``, with the verdict of a later comparison if there was one.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged.
        OverflowError: It is damaged.
    """
    found = parse(finite(json.loads((folder / FILE).read_text(encoding="utf-8"))), folder.name)
    verdict = verdict_file(folder).read()
    return {**found, "verdict": verdict} if verdict else found


def verdict_file(folder: Path) -> StateFile[dict[str, Any]]:
    """The verdict of a comparison that somebody asked for after the version in ``folder`` was kept."""
    return StateFile(
        folder / VERDICT_FILE, _verdict, "The verdict in the version's manifest is shown; compare it again."
    )


def _verdict(content: Any) -> dict[str, Any]:
    _StoredVerdict.model_validate(content, strict=True)
    return content


def order(manifest: dict[str, Any]) -> tuple[int, float, str]:
    """Sort key: the order in which versions were kept, whatever the clock said; those of older releases come first."""
    return manifest.get("sequence", 0), manifest["time"], manifest["version"]


def sequence_of(version: str) -> int:
    """The number that the name of a version begins with; 0 for those of older releases."""
    named = _SEQUENCE.fullmatch(version)
    return int(named[1]) if named else 0


def new_version(sequence: int) -> str:
    """Name a version: its number, and for people the time of day."""
    return f"{sequence:05d}-{time.strftime('%Y%m%d-%H%M%S')}"


def outcome(manifest: dict[str, Any]) -> str:
    """Say in a few words what the comparison with the model in use came to."""
    verdict = manifest.get("verdict")
    if verdict is None or not verdict.get("candidate"):
        return "not compared"
    return "not worse" if verdict["publish"] else "refused"
