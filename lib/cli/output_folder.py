"""Where the commands that try the server out leave their files."""

import tempfile
from pathlib import Path

from lib.errors import UserError


def new_folder(given: Path | None, name: str) -> Path:
    """Make the folder that the user gave, else a temporary one for the command ``name``.

    Raises:
        UserError: The folder exists: what is in it must not be mixed with this.
    """
    if given and given.exists():
        raise UserError(f"{given} exists; give a new folder.")
    folder = given or Path(tempfile.mkdtemp(prefix=f"lunglabel-{name}-"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
