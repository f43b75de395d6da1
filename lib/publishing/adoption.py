"""Versions that another workspace, or an earlier release in the app's folder, kept: copied, never moved."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lib.errors import UserError, in_one_line
from lib.publishing import manifest
from lib.publishing.model_store import ModelStore
from lib.storage.integrity import sha256_of
from lib.storage.state_file import UNREADABLE


@dataclass(frozen=True)
class Adoption:
    """What came of it.

    Attributes:
        adopted: Ids of the versions that were copied.
        known: Ids of those that were here before.
        left_out: What is wrong with each of the others, a sentence.
        serving: Id of the version that served there; None if it is not known.
    """

    adopted: list[str]
    known: list[str]
    left_out: list[str]
    serving: str | None


def adopt(store: ModelStore, folder: Path) -> Adoption:
    """Copy the versions below ``folder`` into ``store``, under their ids. None of them serves by that.

    Each gets a hash, if it had none. What is damaged stays where it is and is named.

    Args:
        store: Of the workspace.
        folder: ``model/`` of an earlier release, ``models/`` of another workspace, or ``versions/`` of either.

    Raises:
        UserError: There are no versions.
    """
    versions = _versions_below(folder)
    if not versions:
        raise UserError(f"There are no model versions in {folder}: it has no folder versions/ with weights in it.")
    here = {one["version"]: one.get("sha256") for one in store.manifests()}
    adopted, known, left_out = [], [], []
    for source in versions:
        try:
            origin = manifest.read(source)
            sha256 = sha256_of(source / "model.pt")
            if origin.get("sha256") not in (None, sha256):
                raise ValueError("its weights are not those that were kept")
            if here.get(source.name, sha256) != sha256:
                raise ValueError("there is another version of this name here")
            if source.name in here:
                known.append(source.name)
                continue
            store.adopt(source / "model.pt", {**origin, "adopted_from": str(source)})
            adopted.append(source.name)
        except UNREADABLE as error:
            left_out.append(f"{source} is left out: {in_one_line(error)}")
    return Adoption(adopted, known, left_out, _served(versions[0].parent.parent))


def left_behind(store: ModelStore, folder: Path) -> list[str]:
    """Return the ids of versions below ``folder`` that ``store`` does not have."""
    here = {one["version"] for one in store.manifests()}
    return [source.name for source in _versions_below(folder) if source.name not in here]


def _versions_below(folder: Path) -> list[Path]:
    places = (folder / "versions", folder)
    found = next((place for place in places if any(place.glob("*/model.pt"))), None)
    return sorted(file.parent for file in found.glob("*/model.pt")) if found else []


def _served(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / "serving.json").read_text(encoding="utf-8"))["version"])
    except UNREADABLE:
        return None
