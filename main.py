"""LungLabel's two entrances: MONAI Label imports ``MyApp`` from here, ``python main.py`` is the command line."""

import sys

if __name__ == "__main__":
    from lib.cli import main

    sys.exit(main())
else:
    from lib.processes.parent_process import exit_with_server
    from lib.processes.priority import restart_waiting_passively, use_lowest_priority

    if exit_with_server():  # first: the imports below take seconds, in which the server may end
        use_lowest_priority()
    restart_waiting_passively()
    from lib.app import MyApp

    __all__ = ["MyApp"]
