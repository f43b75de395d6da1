"""Import of model versions from another workspace or from the app folder of an earlier release, by copying."""

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
    """Result of an import.

    Attributes:
        adopted: Ids of the versions that were copied.
        known: Ids of the versions that the store already had.
        left_out: One message for each version that was not copied.
        serving: Id of the version in use in the source; None if unknown.
    """

    adopted: list[str]
    known: list[str]
    left_out: list[str]
    serving: str | None


def adopt(store: ModelStore, folder: Path) -> Adoption:
    """Copy the versions below ``folder`` into ``store`` under their ids, without putting one into use.

    A version without checksum gets one. Damaged versions are not copied and are reported.

    Args:
        store: Store of the workspace.
        folder: ``model/`` of an earlier release, ``models/`` of another workspace, or ``versions/`` of either.

    Raises:
        UserError: The folder has no versions.
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
                raise ValueError("its weights do not match their checksum")
            if here.get(source.name, sha256) != sha256:
                raise ValueError("the workspace has a different version with this id")
            if source.name in here:
                known.append(source.name)
                continue
            store.adopt(source, {**origin, "adopted_from": str(source)})
            adopted.append(source.name)
        except UNREADABLE as error:
            left_out.append(f"{source} is not copied: {in_one_line(error)}")
    return Adoption(adopted, known, left_out, _serving_version(versions[0].parent.parent))


def missing_versions(store: ModelStore, folder: Path) -> list[str]:
    """Return the ids of versions below ``folder`` that ``store`` does not have."""
    here = {one["version"] for one in store.manifests()}
    return [source.name for source in _versions_below(folder) if source.name not in here]


def _versions_below(folder: Path) -> list[Path]:
    places = (folder / "versions", folder)
    found = next((place for place in places if any(place.glob("*/model.pt"))), None)
    return sorted(file.parent for file in found.glob("*/model.pt")) if found else []


def _serving_version(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / "serving.json").read_text(encoding="utf-8"))["version"])
    except UNREADABLE:
        return None
