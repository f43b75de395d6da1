"""The command line: ``python main.py COMMAND`` or ``lunglabel COMMAND``.

Each command is one file with ``add_arguments`` and ``run``, imported only when it is called.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lib.cli.commands import DEVELOPMENT, EVERYDAY, Command
from lib.errors import UserError
from lib.processes.priority import wait_passively
from lib.settings import APP_DIR, SettingsError

__all__ = ["Command", "main"]

_FULL = "Free some space, or give a folder on another disk, then start the same command again."
_CLOSED = "Make it readable and writable, or give another one."
_OTHER = "Give another one; a folder must not have the name of a file."
_UNUSABLE = {  # what to do about an error of the operating system
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _FULL),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _CLOSED),
    **dict.fromkeys((errno.EEXIST, errno.EISDIR, errno.ENOENT, errno.ENOTDIR), _OTHER),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Without the program's name; those of the process if None.

    Returns:
        Exit status: 0 on success, 1 on failure, 2 for invalid arguments or settings.
    """
    wait_passively()  # before a command loads PyTorch
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    program = Path(sys.argv[0]).name
    program = "python main.py" if program == "main.py" else program
    development = DEVELOPMENT | _of_maintainers()
    parser = _parser(program, development)
    name = parser.parse_args(arguments[:1]).command
    command = (EVERYDAY | development)[name]
    parsed = _parsed(f"{program} {name}", command, arguments[1:])
    if name not in EVERYDAY | DEVELOPMENT:
        _end_with_what_was_started()
    try:
        return parsed.run(parsed)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in _UNUSABLE:
            raise
        place = f" ({error.filename})" if error.filename else ""
        print(f"A file or folder cannot be used: {error.strerror}{place}. {_UNUSABLE[error.errno]}", file=sys.stderr)
        return 1


def _parser(program: str, development: Mapping[str, Command]) -> argparse.ArgumentParser:
    """Return the parser of the name of the command, whose help lists the commands in two groups."""
    groups = {"everyday commands": EVERYDAY, "for the development of models and of this app": development}
    lists = (
        "\n".join([f"{title}:", *(f"  {name:<14}{command.summary}" for name, command in commands.items())])
        for title, commands in groups.items()
    )
    parser = argparse.ArgumentParser(
        prog=program,
        usage="%(prog)s [-h] COMMAND ...",
        description="LungLabel. Research use only, not a medical device.",
        epilog="\n\n".join([*lists, f"{program} COMMAND --help shows the arguments of a command, with examples."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", metavar="COMMAND", choices=[*EVERYDAY, *development], help=argparse.SUPPRESS)
    return parser


def _parsed(program: str, command: Command, arguments: Sequence[str]) -> argparse.Namespace:
    """Return the arguments of a command, in any order of positions and options."""
    examples = "".join(f"\n  {program} {example}" for example in command.examples)
    parser = argparse.ArgumentParser(
        prog=program,
        description=f"{command.summary[:1].upper()}{command.summary[1:]}.",
        epilog=f"examples:{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module = importlib.import_module(command.module)
    module.add_arguments(parser)
    parser.set_defaults(run=module.run)
    parsed = parser.parse_intermixed_args(arguments)
    if getattr(parsed, "studies_required", False) and parsed.studies is None:
        parser.error("give STUDIES, the DICOM folder or DICOMweb URL that the server is given")
    return parsed


def _end_with_what_was_started() -> None:
    """Make a signal to end raise SystemExit, so that the servers and browsers of a maintainers' command end with it."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores one
            signal.signal(number, lambda number, frame: sys.exit(128 + number))


def _of_maintainers() -> dict[str, Command]:
    """Return the commands of the maintainers if the checkout has ``tools/``."""
    if not (APP_DIR / "tools" / "commands").is_dir():
        return {}
    if str(APP_DIR) not in sys.path:
        sys.path.insert(0, str(APP_DIR))  # the installed command does not start in this folder, unlike main.py
    return importlib.import_module("tools.commands").COMMANDS
