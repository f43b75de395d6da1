"""The command line in the process of the test, which spares a start of PyTorch for each call."""

from collections.abc import Callable

import pytest

from lib.cli import main


@pytest.fixture
def run_main(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return ``run_main(*arguments, status=0)``, which runs a command in the folder / and returns what it prints."""

    def run(*arguments: object, status: int = 0) -> str:
        monkeypatch.chdir("/")
        capsys.readouterr()
        try:
            ended = main([str(argument) for argument in arguments])
        except SystemExit as error:
            ended = error.code
        printed = "".join(capsys.readouterr())
        assert ended == status, printed
        return printed

    return run
