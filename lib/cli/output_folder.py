"""Output folder of the commands that test the server."""

import tempfile
from pathlib import Path

from lib.errors import UserError


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
