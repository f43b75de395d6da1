"""The command line: ``python main.py COMMAND`` or ``lunglabel COMMAND``.

Each command is one file with ``add_arguments`` and ``run``, imported only when it is called.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lib.errors import UserError
from lib.processes.priority import wait_passively
from lib.settings import APP_DIR, SettingsError


class Command(NamedTuple):
    """A command of the command line.

    Attributes:
        module: Module with ``add_arguments`` and ``run``.
        summary: What it does, in one line for ``--help``.
    """

    module: str
    summary: str


COMMANDS = {
    "doctor": Command("lib.cli.doctor", "check the installation, and list the contents of a folder or PACS"),
    "phantoms": Command("lib.cli.phantoms", "make a small set of chest CT phantoms as DICOM"),
    "train": Command("lib.cli.train", "train offline on images and masks"),
    "train-clicks": Command(
        "lib.cli.train_clicks", "train the model that outlines what a user clicks at, offline on images and masks"
    ),
    "weights": Command("lib.cli.weights", "train the shipped weights again, stage by stage, and install them"),
    "evaluate": Command("lib.cli.evaluate", "measure weights on images with masks: metrics.json and report.html"),
    "compose": Command("lib.cli.compose", "paste nodules into whole scans: volumes with known lesions for evaluation"),
    "ablation": Command("lib.cli.ablation", "measure the contribution of each part of the method"),
    "models": Command("lib.cli.models", "list the versions of the model; select the one that serves"),
    "labels": Command("lib.cli.labels", "list all submitted labels; restore a former one"),
    "infer": Command("lib.cli.infer", "segment every series of a folder or PACS: DICOM SEG, NIfTI, table of lesions"),
    "import": Command(
        "lib.cli.import_cases",
        "import the labels of a public set: LIDC-IDRI, NSCLC-Radiomics, MSD, LUNA16, slices with masks ...",
    ),
    "export": Command(
        "lib.cli.export", "write the final labels as DICOM SEG, SR, RTSTRUCT, NIfTI or a table of lesions"
    ),
    "simulate": Command("lib.cli.simulate", "replay labelled data to compare strategies for choosing the next case"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Without the program's name; those of the process if None.

    Returns:
        Exit status: 0 on success, 1 on failure, 2 for invalid arguments or settings.
    """
    wait_passively()  # before a command loads PyTorch
    program = Path(sys.argv[0]).name
    parser = argparse.ArgumentParser(
        prog="python main.py" if program == "main.py" else program,
        description="LungLabel. Research use only, not a medical device.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for name, command in _all_commands().items():
        subparser = commands.add_parser(name, help=command.summary, description=command.summary)
        if arguments[:1] == [name]:
            module = importlib.import_module(command.module)
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    parsed = parser.parse_args(arguments)
    try:
        return parsed.run(parsed)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except UserError as error:
        print(error, file=sys.stderr)
        return 1


def _all_commands() -> dict[str, Command]:
    """Return the commands, including those of the maintainers if the checkout has ``tools/``."""
    if not (APP_DIR / "tools" / "commands").is_dir():
        return COMMANDS
    if str(APP_DIR) not in sys.path:
        sys.path.insert(0, str(APP_DIR))  # the installed command does not start in this folder, unlike main.py
    return {**COMMANDS, **importlib.import_module("tools.commands").COMMANDS}
