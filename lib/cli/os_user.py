"""Name of the user of the operating system who runs a command."""

from __future__ import annotations

import getpass


def os_user() -> str:
    """Return the name of the user, or ``command line`` for a container's user without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "command line"
