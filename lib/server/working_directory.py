"""The folders that the server's process works in: none that a stranger may have prepared."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def use_safe_directories(app_dir: Path, temporary: Path) -> None:
    """Leave the folder that the server was started in, and keep temporary files out of /tmp.

    The training process imports modules from the current folder first, as every ``python -m`` does: an ``xml.py`` in a
    folder of downloads would run. And /tmp may be memory, in which an uploaded image has no place.

    Args:
        app_dir: This app; every other path, those of the tasks' processes too, is absolute by now.
        temporary: New or existing folder.
    """
    os.chdir(app_dir)
    temporary.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(temporary)
