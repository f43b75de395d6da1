"""Reading and validation of ``info.yaml`` and ``--conf``, and comparison with the defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from lib.settings.problems import SettingsError, invalid, messages, unknown
from lib.settings.sections import Config, Info, Start
from lib.settings.yaml_files import parse_yaml, read_yaml

APP_DIR = Path(__file__).resolve().parents[2]
INFO = APP_DIR / "info.yaml"


def load_info(path: Path = INFO) -> dict[str, Any]:
    """Return ``info.yaml`` as validated plain values: name, labels, network, preprocessing, ``config`` and so on.

    Raises:
        SettingsError: The file cannot be read, or has invalid keys or values; the message lists all of them.
    """
    return read_info(path).model_dump()


def read_settings(conf: Mapping[str, str]) -> tuple[Info, Start]:
    """Return ``info.yaml`` with the changes of ``--conf``, and the settings that exist in ``--conf`` only.

    Raises:
        SettingsError: Keys or values are invalid; the message lists all of them.
    """
    read: list[Any] = []
    problems: list[str] = []
    for reader in (lambda: read_info(conf=conf), lambda: _read_start(conf)):
        try:
            read.append(reader())
        except SettingsError as error:
            problems.append(str(error))
    if problems:
        raise SettingsError(problems)
    info, start = read
    return info, start


def read_info(path: Path = INFO, conf: Mapping[str, str] | None = None) -> Info:
    """Return ``info.yaml`` with the changes of ``--conf`` applied to its ``config``.

    Raises:
        SettingsError: The file cannot be read, or keys or values are invalid; the message lists all of them.
    """
    content, conf = read_yaml(path, "network and config", if_unreadable="Restore the file of the release."), conf or {}
    values: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    try:
        Info.model_validate(content)
    except ValidationError as error:
        problems += [f"{path.name}: {message}" for message in messages(error, Info).values()]
    for (section, name), field in _conf_fields().items():
        if section and name in conf:
            try:
                values.setdefault(section, {})[name] = parsed(name, field, conf[name])
            except SettingsError as error:
                problems.append(str(error))
    known = {name for _, name in _conf_fields()}
    problems += [unknown(f"--conf {name}", name, known) for name in conf if name not in known]
    if problems:
        raise SettingsError(problems)
    return _validated(content, values, f"{path.name} with --conf: " if values else f"{path.name}: ")


def parsed(name: str, field: FieldInfo, text: str) -> Any:
    """Parse the value of ``--conf NAME VALUE``.

    Raises:
        SettingsError: The setting cannot have this value.
    """
    value: Any = text
    if get_origin(field.annotation) in (list, dict):
        try:
            value = parse_yaml(text)
        except yaml.YAMLError:
            value = text
        if isinstance(value, str) and get_origin(field.annotation) is list:
            value = [part.strip() for part in value.split(",")]
    kind: Any = field.annotation
    for constraint in field.metadata:
        kind = Annotated[kind, constraint]
    try:
        return TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False)).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        reason = first.get("ctx", {}).get("error")
        raise SettingsError([invalid(f"--conf {name}", field, text, str(reason) if reason else None)]) from None


def check_request(info: Mapping[str, Any], section: str, request: Mapping[str, Any]) -> None:
    """Validate the values of a request by the rules for ``config`` of ``info.yaml``.

    Args:
        info: Return value of `load_info`.
        section: ``infer`` or ``train``.
        request: Parameters of the request; names that are not settings of the section are ignored.

    Raises:
        SettingsError: Values are invalid; the message lists all of them.
    """
    names = _fields_of(Config.model_fields[section])
    given = {name: request[name] for name in names if name in request}
    if given:
        _validated(info, {section: given}, "", f"config.{section}.")


def changes(model: BaseModel, conf: Mapping[str, str], path: str = "") -> Iterator[dict[str, Any]]:
    """Yield the settings that differ from their default: ``name``, ``value``, ``default``, ``meaning``, ``source``.

    Args:
        model: The settings.
        conf: The pairs of ``--conf``.
        path: Dotted path of ``model`` with a trailing dot, or "" for the root.
    """
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from changes(value, conf, f"{path}{name}.")
        elif not field.is_required() and value != (default := field.get_default(call_default_factory=True)):
            secret = isinstance(value, SecretStr)
            yield {
                "name": f"{path}{name}".removeprefix("config."),
                "value": "(secret)" if secret else value,
                "default": None if secret else default,
                "meaning": field.description,
                "source": "--conf" if name in conf and (path.startswith("config.") or not path) else INFO.name,
            }


def _read_start(conf: Mapping[str, str]) -> Start:
    fields = Start.model_fields
    return Start.model_validate({name: parsed(name, fields[name], conf[name]) for name in conf if name in fields})


def _validated(
    content: Mapping[str, Any], values: Mapping[str, Mapping[str, Any]], origin: str, drop: str = ""
) -> Info:
    """Validate ``content`` with some values of its ``config`` replaced.

    Raises:
        SettingsError: Keys or values are invalid. ``origin`` is put before each message, ``drop`` removed from it.
    """
    config = content.get("config") or {}
    config = {**config, **{section: {**config.get(section, {}), **given} for section, given in values.items()}}
    try:
        return Info.model_validate({**content, "config": config})
    except ValidationError as error:
        found = messages(error, Info).values()
        raise SettingsError([origin + message.removeprefix(drop) for message in found]) from None


def _conf_fields() -> dict[tuple[str, str], FieldInfo]:
    """Return the settings of ``--conf`` by section and name; the section is "" for those not in ``info.yaml``."""
    fields = {("", name): field for name, field in Start.model_fields.items()}
    for section, holder in Config.model_fields.items():
        fields |= {(section, name): field for name, field in _fields_of(holder).items()}
    return fields


def _fields_of(section: FieldInfo) -> dict[str, FieldInfo]:
    model: Any = section.annotation
    return model.model_fields
