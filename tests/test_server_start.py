"""The first lines of a server: the address, without the log of the libraries that it loads."""

import logging
import os
import subprocess

import pytest

from lib.server.start import print_welcome
from lib.settings import APP_DIR, Settings

pytestmark = pytest.mark.server  # runs the script


@pytest.fixture
def launch(tmp_path):
    """Return a function that runs the launcher with a ``python`` that prints how it is called."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$OMP_WAIT_POLICY" "$@"\n')
    python.chmod(0o755)
    launcher = tmp_path / "monailabel"
    launcher.write_text((APP_DIR / "lib" / "cli" / "monailabel.sh").read_text())
    launcher.chmod(0o755)

    def run(*arguments: str) -> str:
        environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        done = subprocess.run([launcher, *arguments], capture_output=True, text=True, check=True, env=environment)
        return done.stdout

    return run


def test_log_of_the_start_is_left_out_unless_it_is_asked_for(launch):
    said = launch("start_server", "--studies", "/data/a b")
    assert said.startswith("PASSIVE\n-I\n-c\nimport logging\nlogging.disable(logging.INFO)\n")
    assert said.endswith("\nstart_server\n--studies\n/data/a b\n")
    for verbose in (("-v", "INFO"), ("--verbose", "DEBUG"), ("--verbose=DEBUG",)):
        assert "logging.disable(logging.NOTSET)" in launch("start_server", *verbose)


def test_address_is_printed_first_and_logging_begins(tmp_path, capsys, caplog):
    settings = Settings.from_conf(str(tmp_path), {"workspace": str(tmp_path.with_name("w"))})
    logging.disable(logging.INFO)
    try:
        print_welcome(settings, {"total": 3, "left_out": 1}, "http://127.0.0.1:8000", None)
        assert logging.root.manager.disable == logging.NOTSET
    finally:
        logging.disable(logging.NOTSET)
    first, *others = capsys.readouterr().out.split("\n  ")
    assert first == ""
    assert others[0] == "OHIF:    http://127.0.0.1:8000/ohif/"
    assert f"3 usable CT series (1 excluded) of {tmp_path}" in others
