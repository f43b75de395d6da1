"""Error messages for invalid settings: one sentence that names the setting and the allowed values."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from lib.errors import UserError

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", SecretStr: "text"}
_MAX_SHOWN_CHARACTERS = 80


class SettingsError(UserError):
    """Raised when settings are invalid.

    Args:
        problems: One message per problem, at least one.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(dict.fromkeys(problems)))


def messages(error: ValidationError, model: type[BaseModel]) -> dict[str, str]:
    """Return a message for each setting that pydantic rejected, by its dotted path.

    Args:
        error: The error that pydantic raised.
        model: The model that was validated.
    """
    found: dict[str, str] = {}
    for one in error.errors(include_url=False):
        path, field, kind, rest = _find(model, one["loc"])
        given, reason = one["input"], one.get("ctx", {}).get("error")
        if one["type"] == "extra_forbidden":
            within = f" in {path}" if path else ""
            path, message = f"{path}.{rest}", unknown(f"{rest}{within}", str(rest), kind.model_fields)
        elif field is None and reason:  # inconsistent values, one line each
            found.update({f"{number}": line for number, line in enumerate(str(reason).splitlines())})
            continue
        elif field is None:
            message = f"It must consist of sections, not {shorten(given)}."
        elif one["type"] == "missing":
            message = f"{path} is missing; it must be {allowed(field)}."
        else:
            message = invalid(path, field, given, str(reason) if reason else None, inside=rest is not None)
        found.setdefault(path, message)
    return found


def unknown(title: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a name that does not exist, with the closest known name."""
    known = sorted(known)
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{title} is not known.{hint} Known: {', '.join(known)}."


def invalid(name: str, field: FieldInfo, value: Any, reason: str | None = None, *, inside: bool = False) -> str:
    """Return the message for an invalid value of a setting.

    Args:
        name: Name of the setting as the user writes it.
        field: The setting.
        value: The given value, or the invalid part of it.
        reason: What is wrong if it is not the type or range: "must be …".
        inside: Whether ``value`` is only a part of the given value.
    """
    if reason is None:
        given = "" if field.annotation is SecretStr else f", {'but contains' if inside else 'not'} {shorten(value)}"
        reason = f"must be {allowed(field)}{given}"
    comma = isinstance(value, str) and re.fullmatch(r"\s*-?\d+,\d+\s*", value)
    return f"{name} {reason}." + (f" Use a decimal point: {value.strip().replace(',', '.')}." if comma else "")


def allowed(field: FieldInfo) -> str:
    """Describe the allowed values of a setting: "a number above 0 and below 1", "lungs or slice"."""
    return _allowed(field.annotation, field.metadata)


def shorten(value: Any) -> str:
    """Return the representation of a value for a message, truncated to 80 characters."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[:_MAX_SHOWN_CHARACTERS]}…"


def is_section(kind: Any) -> bool:
    """Return whether a type is a section."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _find(model: type[BaseModel], location: Sequence[int | str]) -> tuple[str, FieldInfo | None, Any, Any]:
    """Return dotted path, field and type of the innermost setting of a location, and the first part below it."""
    path: list[str] = []
    field: FieldInfo | None = None
    kind: Any = model
    for part in location:
        if is_section(kind) and part in kind.model_fields:
            field = kind.model_fields[part]
            kind = field.annotation
        elif get_origin(kind) is dict and is_section(get_args(kind)[1]):
            kind = get_args(kind)[1]
        else:
            return ".".join(path), field, kind, part
        path.append(str(part))
    return ".".join(path), field, kind, None


def _allowed(kind: Any, metadata: Sequence[Any]) -> str:
    if get_origin(kind) is Annotated:
        kind, *inner = get_args(kind)
        return _allowed(kind, [*_constraints(inner), *metadata])
    match get_origin(kind), get_args(kind):
        case None, _:
            words = "a section of settings" if is_section(kind) else _WORDS[kind]
        case origin, values if origin is Literal:
            words = " or ".join(map(str, values))
        case origin, (item,) if origin is list:
            words = f"a list of {_length(metadata)}values, each {_allowed(item, ())}"
        case origin, (_, item) if origin is dict:
            words = f"a mapping of names to values, each {_allowed(item, ())}"
        case _, options:  # a union with None
            words = " or ".join("null" if one is NoneType else _allowed(one, ()) for one in options)
    return words + _range(metadata)


def _constraints(metadata: Iterable[Any]) -> list[Any]:
    """Return the constraints, including those inside of pydantic's ``Field(…)``."""
    return [one for item in metadata for one in (item.metadata if isinstance(item, FieldInfo) else [item])]


def _range(metadata: Iterable[Any]) -> str:
    limits: Mapping[type, Any] = {type(one): one for one in _constraints(metadata)}
    lowest: Any = limits.get(annotated_types.Ge)
    above: Any = limits.get(annotated_types.Gt)
    highest: Any = limits.get(annotated_types.Le)
    below: Any = limits.get(annotated_types.Lt)
    parts = []
    if lowest or above:
        parts.append(f"from {lowest.ge}" if lowest else f"above {above.gt}")
    if highest or below:
        parts.append(f"{'to' if lowest else 'and up to'} {highest.le}" if highest else f"and below {below.lt}")
    multiple = limits.get(annotated_types.MultipleOf)
    return "".join(f" {part}" for part in parts) + (f", a multiple of {multiple.multiple_of}" if multiple else "")


def _length(metadata: Iterable[Any]) -> str:
    limits = {type(one): one for one in _constraints(metadata)}
    least, most = limits.get(annotated_types.MinLen), limits.get(annotated_types.MaxLen)
    if not least or not most:
        return ""
    return (
        f"{least.min_length} " if least.min_length == most.max_length else f"{least.min_length} to {most.max_length} "
    )
