"""Reading of YAML files that users edit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from lib.settings.problems import SettingsError

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")


class _Loader(yaml.SafeLoader):
    """YAML loader that parses ``1e-3`` as a number and rejects duplicate keys."""

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


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text.

    Raises:
        yaml.YAMLError: The text is not YAML, or a key is given twice.
    """
    return yaml.load(text, _Loader)  # a SafeLoader


def read_yaml(path: Path, sections: str, *, if_unreadable: str = "") -> dict[str, Any]:
    """Return the content of a YAML file that consists of sections.

    Args:
        path: The file.
        sections: Names of some of its sections, for the message.
        if_unreadable: What to do where the file cannot be read, a sentence.

    Raises:
        SettingsError: The file cannot be read, is not YAML, or does not consist of sections.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([f"{path} cannot be read: {error.strerror}. {if_unreadable}".rstrip()]) from None
    except UnicodeDecodeError:
        raise SettingsError([f"{path.name} is not YAML: it is not UTF-8 text."]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError([f"{path.name} is not YAML{where}: {error.problem}."]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError([f"{path.name} is not YAML: {' '.join(str(error).split())}."]) from None
    if not isinstance(content, dict):
        raise SettingsError([f"{path.name} must consist of sections such as {sections}; it has none."])
    return content
