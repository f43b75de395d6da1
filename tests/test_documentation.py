"""Documentation: valid links and paths, and a complete map of packages."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PAGES = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md"), *(REPOSITORY / "model").glob("*.md")]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_relative_links_and_anchors_exist(page):
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in _anchors(target), f"{page.name} links to {link}"


def _anchors(page: Path) -> set[str]:
    headings = _HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


DEVELOPMENT = (REPOSITORY / "docs" / "development.md").read_text(encoding="utf-8")


def test_every_path_in_the_development_guide_exists():
    named = re.findall(r"`((?:lib|tools|tests|docs|model)/[\w./-]*|[\w.]+\.(?:py|toml|txt|yaml))`", DEVELOPMENT)
    assert len(named) > 50
    assert [path for path in named if not (REPOSITORY / path).exists()] == []


def test_every_package_is_on_the_map():
    packages = {f"lib/{init.parent.name}" for init in (REPOSITORY / "lib").glob("*/__init__.py")}
    modules = {f"lib/{module.name}" for module in (REPOSITORY / "lib").glob("*.py")}
    assert [name for name in sorted(packages | modules) if f"`{name}`" not in DEVELOPMENT] == []


def test_map_follows_the_order_of_the_layers():
    """The import contract in pyproject.toml and the table in the development guide have the same order."""
    contract = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8").partition("layers = [")[2].partition("]")[0]
    layers = [set(re.findall(r"\w+", line)) for line in re.findall(r'"(.+)"', contract)]
    table = DEVELOPMENT.partition("| package |")[2].partition("\n\n")[0]
    named = [name for row in table.splitlines() for name in re.findall(r"`lib/(\w+)(?:\.py)?`", row.split(" | ")[0])]
    depths = [next(depth for depth, layer in enumerate(layers) if name in layer) for name in named]
    assert depths == sorted(depths)
    assert set(named) == set.union(*layers)
