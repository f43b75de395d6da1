"""Only ``lib/server`` uses the web framework."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LIB = Path(__file__).parents[1] / "lib"
WEB = ("fastapi", "starlette", "uvicorn", "monailabel.endpoints", "lib.server")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("room", sorted(path.name for path in LIB.iterdir() if path.is_dir() and path.name != "cli"))
def test_no_other_package_imports_the_web_framework(room):
    if room in ("server", "__pycache__"):
        return
    for path in (LIB / room).rglob("*.py"):
        found = [name for name in imports(path) if name.startswith(WEB)]
        assert not found, f"{path.relative_to(LIB)} imports {found}"


def test_only_the_server_defines_routes():
    defining = {path for path in LIB.rglob("*.py") if any(name.startswith("fastapi") for name in imports(path))}
    assert {path.relative_to(LIB).parts[0] for path in defining} == {"server"}
