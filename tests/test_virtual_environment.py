"""``python main.py`` without the virtual environment active: it uses the project's, or says how to install it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lib.processes import virtual_environment
from lib.processes.virtual_environment import use_virtual_environment

pytestmark = pytest.mark.server
ROOT = Path(__file__).parents[1]
WITHOUT_PACKAGES = [sys.executable, "-S"]  # -S: without site-packages, like the Python of the system


def run(main: Path, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess:
    command = [*WITHOUT_PACKAGES, str(main), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=timeout)


@pytest.fixture
def project(tmp_path) -> Path:
    """Return a checkout that has main.py but no virtual environment yet."""
    (tmp_path / "lib").mkdir()
    shutil.copy(ROOT / "main.py", tmp_path)
    shutil.copy(ROOT / "lib" / "__init__.py", tmp_path / "lib")
    shutil.copytree(ROOT / "lib" / "processes", tmp_path / "lib" / "processes")
    return tmp_path


def test_commands_run_in_the_environment_of_the_project(project):
    (project / ".venv" / "bin").mkdir(parents=True)
    python = project / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$0" "$@"\n')
    python.chmod(0o755)
    done = run(project / "main.py", "doctor", "/data/a b")
    assert done.stdout == f"{python} {project / 'main.py'} doctor /data/a b\n"


def test_missing_environment_is_a_plain_sentence(project):
    done = run(project / "main.py", "doctor")
    assert done.returncode == 1
    assert done.stderr == (
        f"LungLabel cannot run: its packages are not installed. Run `make install` in {project}, then the same command "
        "again.\n"
    )


def test_incomplete_environment_names_the_package(project):
    (project / "monailabel.py").write_text("")
    (project / "lib" / "cli.py").write_text("import package_that_is_not_there\n")
    done = run(project / "main.py")
    assert done.stderr.startswith("LungLabel cannot run: the package package_that_is_not_there is missing. Run `make")
    assert "Traceback" not in done.stderr


def test_environment_with_the_packages_is_used_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("the packages are here"))
    use_virtual_environment(tmp_path)


def test_own_environment_without_the_packages_is_not_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr(virtual_environment.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    with pytest.raises(SystemExit, match="make install"):
        use_virtual_environment(tmp_path)


def test_environment_that_does_not_know_that_it_is_one_is_not_run_again_and_again(project):
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "python").symlink_to(Path(sys.executable).resolve())  # and no pyvenv.cfg
    done = run(project / "main.py", "doctor", timeout=10)
    assert done.stderr.startswith("LungLabel cannot run: its packages are not installed.")


def test_environment_of_another_machine_is_a_plain_sentence(project):
    (project / ".venv" / "bin").mkdir(parents=True)
    python = project / ".venv" / "bin" / "python"
    python.write_bytes(b"\x7fELF of another processor")
    python.chmod(0o755)
    done = run(project / "main.py", "doctor")
    assert done.stderr.startswith(f"{python} cannot be run: Exec format error. LungLabel cannot run: ")
