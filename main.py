"""LungLabel's two entrances: MONAI Label imports ``MyApp`` from here, ``python main.py`` is the command line."""

import sys
from pathlib import Path

if __name__ == "__main__":
    from lib.processes.virtual_environment import not_installed, use_virtual_environment

    use_virtual_environment(Path(__file__).resolve().parent)
    try:
        from lib.cli import main

        sys.exit(main())
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("lib", "tools", ""):
            raise
        sys.exit(not_installed(Path(__file__).resolve().parent, error.name))
else:
    from lib.processes.parent_process import exit_with_server
    from lib.processes.priority import restart_waiting_passively, use_lowest_priority

    if exit_with_server():  # first: the imports below take seconds, in which the server may end
        use_lowest_priority()
    restart_waiting_passively()
    from lib.app import MyApp

    __all__ = ["MyApp"]
