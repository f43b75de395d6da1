"""The command line, called in this process."""

from collections.abc import Callable

import pytest

from lib.cli import main


@pytest.fixture
def call(capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Return a function that runs a command and returns all that it prints."""

    def run(*arguments: object, status: int = 0) -> str:
        try:
            ended = main([*map(str, arguments)])
        except SystemExit as error:
            ended = error.code
        printed = "".join(capsys.readouterr())
        assert ended == status, printed
        return printed

    return run
