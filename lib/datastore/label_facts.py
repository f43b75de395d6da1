"""What is known of a label: what its sender may say, and what only this app says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib.datastore.predictions import Changes

_CLIENT = "client"
_LONGEST_TEXT = 10_000  # characters

# What a sender says of a label, with its type. Anything else is kept under ``client``: what this app found out
# (voxels, grid, changes, settings, user ...) cannot be said by others, and nothing that was sent is lost.
_SAID = {"annotator": str, "note": str, "viewer": str, "client_id": str}
_SAID_WITH_LABEL = {**_SAID, "model_version": (str, type(None)), "label_info": object}  # the label's reader checks it


def said_with_label(params: Mapping[str, Any]) -> dict[str, Any]:
    """What a client sent along with a label, fit to be kept in its record's ``info``."""
    return _sorted(params, _SAID_WITH_LABEL)


def said_later(params: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """What a client noted about a label afterwards, fit to be added to ``known``, its record's ``info``."""
    said = _sorted(params, _SAID)
    client = {**_client(known), **said.get(_CLIENT, {})}
    return {**said, **({_CLIENT: client} if client else {})}


def shown(info: Mapping[str, Any]) -> dict[str, Any]:
    """A record's ``info`` as MONAI Label's clients know it: all on one level, this app's facts first."""
    return {**_client(info), **{name: value for name, value in info.items() if name != _CLIENT}}


def changes_of(info: Mapping[str, Any]) -> Changes | None:
    """Voxels changed of the prediction; None where that is not known, or a client once wrote something else there."""
    changes = info.get("changes")
    try:
        found = Changes(**changes)
    except TypeError:
        return None
    counts = (found.added, found.removed, found.kept)
    return found if all(type(count) is int and count >= 0 for count in counts) else None


def model_version_of(info: Mapping[str, Any]) -> str | None:
    """Version of the model whose prediction a label began from; None if there was none."""
    version = info.get("model_version")
    return str(version)[:64] if version else None


def author_of(info: Mapping[str, Any]) -> str | None:
    """Who submitted a label, by the best name there is."""
    names = (info.get(name) for name in ("annotator", "client_id", "user"))
    return next((name for name in names if name and isinstance(name, str)), None)


def _sorted(params: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in params.items() if name in known and _fits(value, known[name])}
    rest = {name: value for name, value in params.items() if name not in said}
    return {**said, **({_CLIENT: rest} if rest else {})}


def _fits(value: object, kind: Any) -> bool:
    return isinstance(value, kind) and not (isinstance(value, str) and len(value) > _LONGEST_TEXT)


def _client(info: Mapping[str, Any]) -> dict[str, Any]:
    client = info.get(_CLIENT)
    return client if isinstance(client, dict) else {}
