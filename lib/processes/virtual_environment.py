"""Use of the project's virtual environment by ``python main.py``, whichever Python runs it.

Imports the standard library only: the packages may be missing.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

_NEEDED = "monailabel"  # no other project's environment has it by accident


def use_virtual_environment(project: Path) -> None:
    """Run this program again with the Python of ``project/.venv`` if the packages are missing in this one.

    An environment that has them, such as the user's own, is used as it is.

    Raises:
        SystemExit: The packages are nowhere; the message says how to install them.
    """
    folder = project / ".venv"
    if importlib.util.find_spec(_NEEDED) is not None:
        return
    python = folder / "bin" / "python"
    # An environment without its pyvenv.cfg has the prefix of the Python that it was made of.
    is_there_already = Path(sys.prefix).resolve() == folder.resolve() or sys.executable == str(python)
    if is_there_already or not python.exists():
        raise SystemExit(not_installed(project))
    sys.stdout.flush()
    try:
        os.execv(python, [str(python), *sys.argv])
    except OSError as error:  # made on another machine, or on a disk from which no program may run
        raise SystemExit(f"{python} cannot be run: {error.strerror}. {not_installed(project)}") from error


def not_installed(project: Path, package: str | None = None) -> str:
    """Return the message that the packages, or one of them, are missing."""
    what = f"the package {package} is missing" if package else "its packages are not installed"
    return f"LungLabel cannot run: {what}. Run `make install` in {project}, then the same command again."
