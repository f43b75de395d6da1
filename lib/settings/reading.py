"""``info.yaml`` and ``--conf``: read, checked, and compared with the defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from lib.settings.problems import SettingsError, refused, sentences, unknown
from lib.settings.sections import Config, Info, Start

APP_DIR = Path(__file__).resolve().parents[2]
INFO = APP_DIR / "info.yaml"
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")


class _Loader(yaml.SafeLoader):
    """YAML whose ``1e-3`` is a number, as people expect, and in which no key is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for name in keys:
            if keys.count(name) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{name} is given twice in one section", node.start_mark
                )
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {key: list(found) for key, found in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+0123456789."))


def load_info(path: Path = INFO) -> dict[str, Any]:
    """Return ``info.yaml`` as validated plain values.

    Raises:
        SettingsError: It cannot be read, or a key or value is wrong; all of them are named.
    """
    return read_info(path).model_dump()


def read_settings(conf: Mapping[str, str]) -> tuple[Info, Start]:
    """Return ``info.yaml`` with the changes of ``--conf``, and what only ``--conf`` says.

    Raises:
        SettingsError: Keys or values are wrong; all of them are named.
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
    """Return ``info.yaml`` with the changes of ``--conf`` in its ``config``.

    Raises:
        SettingsError: It cannot be read, or a key or value of either is wrong; all of them are named.
    """
    content, values, problems = _parse(path), {}, []
    try:
        Info.model_validate(content)
    except ValidationError as error:
        problems += [f"{path.name}: {sentence}" for sentence in sentences(error, Info).values()]
    for (section, name), field in _conf_fields().items():
        if section and name in (conf or {}):
            try:
                values.setdefault(section, {})[name] = parsed(name, field, conf[name])
            except SettingsError as error:
                problems.append(str(error))
    known = {name for _, name in _conf_fields()}
    problems += [unknown(f"--conf {name}", name, known) for name in conf or {} if name not in known]
    if problems:
        raise SettingsError(problems)
    return _validated(content, values, f"{path.name} with --conf: " if values else f"{path.name}: ")


def parsed(name: str, field: FieldInfo, text: str) -> Any:
    """Return the value of ``--conf NAME VALUE``, which always comes as text.

    Raises:
        SettingsError: It is none that the setting can have.
    """
    value: Any = text
    if get_origin(field.annotation) in (list, dict):
        try:
            value = yaml.load(text, _Loader)  # a SafeLoader
        except yaml.YAMLError:
            value = text
        if isinstance(value, str) and get_origin(field.annotation) is list:
            value = [part.strip() for part in value.split(",")]
    kind = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    try:
        return TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False)).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        reason = first.get("ctx", {}).get("error")
        raise SettingsError([refused(f"--conf {name}", field, text, str(reason) if reason else None)]) from None


def check_request(info: Mapping[str, Any], section: str, request: Mapping[str, Any]) -> None:
    """Check the values of a request by the rules for ``config`` of ``info.yaml``.

    Args:
        info: What `load_info` returns.
        section: ``infer`` or ``train``.
        request: What a client sent; names that are no setting of the section are not looked at.

    Raises:
        SettingsError: Values that cannot be used; all of them are named.
    """
    names = Config.model_fields[section].annotation.model_fields
    given = {name: request[name] for name in names if name in request}
    if given:
        _validated(info, {section: given}, "", f"config.{section}.")


def changes(model: BaseModel, conf: Mapping[str, str], path: str = "") -> Iterator[dict[str, Any]]:
    """List the settings that are not at their default: ``name``, ``value``, ``default``, ``meaning``, ``source``.

    Args:
        model: The settings.
        conf: The pairs of ``--conf``.
        path: Of ``model``, with a point at its end.
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
    """``content`` with some values of its ``config`` replaced."""
    config = content.get("config") or {}
    config = {**config, **{section: {**config.get(section, {}), **given} for section, given in values.items()}}
    try:
        return Info.model_validate({**content, "config": config})
    except ValidationError as error:
        told = sentences(error, Info).values()
        raise SettingsError([origin + sentence.removeprefix(drop) for sentence in told]) from None


def _conf_fields() -> dict[tuple[str, str], FieldInfo]:
    """The settings that ``--conf`` may name, by section and name; those of no section are not in ``info.yaml``."""
    fields = {("", name): field for name, field in Start.model_fields.items()}
    for section, holder in Config.model_fields.items():
        fields |= {(section, name): field for name, field in holder.annotation.model_fields.items()}
    return fields


def _parse(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # a SafeLoader
    except OSError as error:
        raise SettingsError([f"{path} cannot be read: {error.strerror}. Put it back as it was released."]) from None
    except UnicodeDecodeError:
        raise SettingsError([f"{path.name} is not YAML: it is not text in UTF-8."]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError([f"{path.name} is not YAML{where}: {error.problem}."]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError([f"{path.name} is not YAML: {' '.join(str(error).split())}."]) from None
    if not isinstance(content, dict):
        raise SettingsError([f"{path.name} must consist of sections, such as network and config; it has none."])
    return content
