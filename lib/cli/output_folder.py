"""Output folders of commands."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lib.errors import UserError
from lib.storage.locked_folder import locked_folder

_WORK = ".lunglabel"


@contextlib.contextmanager
def folder_of_run(output: Path) -> Iterator[Path]:
    """Keep other runs out of the folder of the results, and yield a folder in it that is removed in the end.

    Raises:
        UserError: Another run writes into it; it would lose its model and its index.
    """
    problem = f"Another run writes into {output}. Wait for its end, or choose another folder with --output."
    with locked_folder(output, problem):
        try:
            yield output / _WORK
        finally:
            shutil.rmtree(output / _WORK, ignore_errors=True)


def new_folder(given: Path | None, name: str) -> Path:
    """Create the given folder, or a temporary one for the command ``name``.

    Raises:
        UserError: The folder exists; its contents must not be mixed with new files.
    """
    if given and given.exists():
        raise UserError(f"{given} exists; give a new folder.")
    folder = given or Path(tempfile.mkdtemp(prefix=f"lunglabel-{name}-"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
