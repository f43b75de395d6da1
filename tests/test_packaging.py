"""The packaging files: one version, and requirements that match pyproject.toml."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import lib
from lib.settings import load_info

REPOSITORY = Path(__file__).parents[1]


def pinned(name: str) -> dict[str, str]:
    lines = (REPOSITORY / name).read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {one.name: str(one.specifier) for one in requirements if not one.marker or one.marker.evaluate()}


def declared(heading: str) -> list[Requirement]:
    """Return the requirements of a list in pyproject.toml; Python 3.10 has no TOML parser."""
    text = (REPOSITORY / "pyproject.toml").read_text()
    block = re.search(rf"^{heading} = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)[1]
    return [Requirement(line) for line in re.findall(r'^ +"([^"]+)"', block, re.MULTILINE)]


def test_all_files_have_the_same_version():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == load_info()["version"] == lib.__version__
    assert 'version = { attr = "lib.__version__" }' in (REPOSITORY / "pyproject.toml").read_text()


@pytest.mark.parametrize(("heading", "name"), [("dependencies", "requirements.txt"), ("test", "requirements-test.txt")])
def test_declared_requirements_are_pinned(heading, name):
    """If this fails, run `make lock`."""
    pins = {package.lower(): version for package, version in pinned(name).items()}
    for requirement in declared(heading):
        assert requirement.specifier.contains(pins[requirement.name.lower()].removeprefix("==")), requirement


def test_test_requirements_include_those_of_the_app():
    assert pinned("requirements.txt").items() <= pinned("requirements-test.txt").items()


def test_unused_packages_are_not_pinned():
    excluded = {requirement.name for requirement in declared("exclude-dependencies")}
    assert not excluded & pinned("requirements-test.txt").keys()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt"])
def test_requirements_contain_no_hosts_or_files(name):
    assert not re.search(r"://|--hash|--index|file:", (REPOSITORY / name).read_text())


@pytest.mark.parametrize(
    ("script", "program"), [("main.py", "python main.py"), ("lunglabel", "lunglabel")], ids=["main.py", "lunglabel"]
)
def test_usage_shows_the_name_of_the_command(script, program, tmp_path):
    """The installed command also lists the maintainers' tools, from any folder."""
    code = f"import sys; from lib.cli import main; sys.argv[0] = '/x/{script}'; main(['--help'])"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120
    )
    assert done.stdout.startswith(f"usage: {program} [-h] COMMAND")
    assert "doctor" in done.stdout
    assert "chaos" in done.stdout
