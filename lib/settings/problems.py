"""What is wrong with a setting, in one sentence that names it and says what is allowed."""

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
_SHOWN_CHARACTERS = 80


class SettingsError(UserError):
    """Settings that the app cannot start with.

    Args:
        problems: At least one sentence.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(dict.fromkeys(problems)))


def sentences(error: ValidationError, model: type[BaseModel]) -> dict[str, str]:
    """Return a sentence for each setting that pydantic refused, by its dotted path.

    Args:
        error: What pydantic raised.
        model: That it validated.
    """
    told: dict[str, str] = {}
    for one in error.errors(include_url=False):
        path, field, kind, rest = _find(model, one["loc"])
        given, reason = one["input"], one.get("ctx", {}).get("error")
        if one["type"] == "extra_forbidden":
            within = f" in {path}" if path else ""
            path, sentence = f"{path}.{rest}", unknown(f"{rest}{within}", str(rest), kind.model_fields)
        elif field is None and reason:  # of values that do not fit together, a line each
            told.update({f"{number}": line for number, line in enumerate(str(reason).splitlines())})
            continue
        elif field is None:
            sentence = f"It must consist of sections, not {shown(given)}."
        elif one["type"] == "missing":
            sentence = f"{path} is missing; it must be {allowed(field)}."
        else:
            sentence = refused(path, field, given, str(reason) if reason else None, inside=rest is not None)
        told.setdefault(path, sentence)
    return told


def unknown(title: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence for a name that does not exist, with the one that was probably meant."""
    known = sorted(known)
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{title} is not known.{hint} Known: {', '.join(known)}."


def refused(name: str, field: FieldInfo, value: Any, reason: str | None = None, *, inside: bool = False) -> str:
    """Return the sentence for a value that a setting cannot have.

    Args:
        name: As the user knows the setting.
        field: The setting.
        value: What was given, or the part of it that is wrong.
        reason: What is wrong, where that is not the type or range: "must be …".
        inside: Whether ``value`` is a part of what was given.
    """
    if reason is None:
        given = "" if field.annotation is SecretStr else f", {'but contains' if inside else 'not'} {shown(value)}"
        reason = f"must be {allowed(field)}{given}"
    comma = isinstance(value, str) and re.fullmatch(r"\s*-?\d+,\d+\s*", value)
    return f"{name} {reason}." + (f" Decimals have a point: {value.strip().replace(',', '.')}." if comma else "")


def allowed(field: FieldInfo) -> str:
    """Say what values a setting can have: "a number above 0 and below 1", "lungs or slice" ..."""
    return _allowed(field.annotation, field.metadata)


def shown(value: Any) -> str:
    """Return a value as it is shown in a sentence, shortened."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def is_section(kind: Any) -> bool:
    """Tell whether a type is a section."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _find(model: type[BaseModel], location: Sequence[int | str]) -> tuple[str, FieldInfo | None, Any, Any]:
    """The innermost setting of a location: its dotted path, field and type, and the first part that goes deeper."""
    path: list[str] = []
    field, kind = None, model
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
            words = "a section with settings of its own" if is_section(kind) else _WORDS[kind]
        case origin, values if origin is Literal:
            words = " or ".join(map(str, values))
        case origin, (item,) if origin is list:
            words = f"a list of {_length(metadata)}values, each {_allowed(item, ())}"
        case origin, (_, item) if origin is dict:
            words = f"names with a value each: {_allowed(item, ())}"
        case _, options:  # a union with None
            words = " or ".join("null" if one is NoneType else _allowed(one, ()) for one in options)
    return words + _range(metadata)


def _constraints(metadata: Iterable[Any]) -> list[Any]:
    """Ranges, also those inside of pydantic's ``Field(…)``."""
    return [one for item in metadata for one in (item.metadata if isinstance(item, FieldInfo) else [item])]


def _range(metadata: Iterable[Any]) -> str:
    limits: Mapping[type, Any] = {type(one): one for one in _constraints(metadata)}
    lowest, above = limits.get(annotated_types.Ge), limits.get(annotated_types.Gt)
    highest, below = limits.get(annotated_types.Le), limits.get(annotated_types.Lt)
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
