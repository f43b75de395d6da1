"""Info of a label: which fields a client may set, and which only this app sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lib.datastore.label_clicks import are_clicks
from lib.datastore.label_lesions import are_lesions
from lib.datastore.label_measurements import are_measurements
from lib.datastore.label_reading import is_reading
from lib.datastore.predictions import Changes

_CLIENT = "client"
_LONGEST_TEXT = 10_000  # characters

_Check = Callable[[object], bool]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT


# Fields that a client may set, with what is valid. All others are kept under ``client``, so that no client can set what
# this app determines (voxels, grid, changes, settings, user ...) and nothing that was sent is lost.
_CLIENT_FIELDS: dict[str, _Check] = dict.fromkeys(("annotator", "note", "viewer", "client_id"), _is_text)
_SUBMISSION_FIELDS: dict[str, _Check] = {
    **_CLIENT_FIELDS,
    "model_version": lambda value: value is None or _is_text(value),
    "clicks": are_clicks,
    "lesions": are_lesions,
    "measurements": are_measurements,
    "reading": is_reading,
    "begun_from": lambda value: value is None or type(value) is int,
    "adjudicates": lambda value: isinstance(value, list) and all(type(number) is int for number in value),
    "label_info": lambda _: True,  # validated by the label reader
}


def info_of_submission(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``info`` of a new label record from the parameters of its submission."""
    return _separated(params, _SUBMISSION_FIELDS)


def info_with_note(params: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes that a later note of a client makes to ``known``, the ``info`` of a label record."""
    fields = _separated(params, _CLIENT_FIELDS)
    client = {**_client(known), **fields.get(_CLIENT, {})}
    return {**fields, **({_CLIENT: client} if client else {})}


def flattened(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``info`` of a record flattened, as MONAI Label's clients expect it; this app's fields win."""
    return {**_client(info), **{name: value for name, value in info.items() if name != _CLIENT}}


def changes_of(info: Mapping[str, Any]) -> Changes | None:
    """Return the changes made to the prediction; None if unknown or not in the expected format."""
    changes: Any = info.get("changes")
    try:
        found = Changes(**changes)
    except TypeError:
        return None
    counts = (found.added, found.removed, found.kept)
    return found if all(type(count) is int and count >= 0 for count in counts) else None


def model_version_of(info: Mapping[str, Any]) -> str | None:
    """Return the version of the model whose prediction a label started from; None if there was none."""
    version = info.get("model_version")
    return str(version)[:64] if version else None


def author_of(info: Mapping[str, Any]) -> str | None:
    """Return who submitted a label: annotator, client id or user, in this order; None if unknown.

    Where log-in is required, the annotator is always set, to who is logged in.
    """
    names = (info.get(name) for name in ("annotator", "client_id", "user"))
    return next((name for name in names if name and isinstance(name, str)), None)


def _separated(params: Mapping[str, Any], fields: Mapping[str, _Check]) -> dict[str, Any]:
    valid = {name: value for name, value in params.items() if name in fields and fields[name](value)}
    rest = {name: value for name, value in params.items() if name not in valid}
    return {**valid, **({_CLIENT: rest} if rest else {})}


def _client(info: Mapping[str, Any]) -> dict[str, Any]:
    client = info.get(_CLIENT)
    return client if isinstance(client, dict) else {}
