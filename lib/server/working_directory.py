"""Working directory and temporary directory of the server process, neither of which others can write to."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def use_safe_directories(app_dir: Path, temporary: Path) -> None:
    """Change the working directory to ``app_dir``, and the directory for temporary files to ``temporary``.

    The training process imports modules from the working directory first, like every ``python -m``: an ``xml.py`` in a
    download folder would be executed. And /tmp may be in memory, where an uploaded image does not fit.

    Args:
        app_dir: Folder of this app. All other paths, including those of task processes, must be absolute.
        temporary: New or existing folder.
    """
    os.chdir(app_dir)
    temporary.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(temporary)
