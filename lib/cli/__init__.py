"""The command line: ``python main.py <command>``. One file for each command, imported when it is called."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from lib.errors import UserError
from lib.settings import SettingsError

_COMMANDS = {
    "doctor": "say what is wrong with the installation and what a folder or PACS holds",
    "phantoms": "make a small set of chest CT phantoms as DICOM",
    "train": "train offline on images and masks",
    "evaluate": "measure weights on images with masks: metrics.json and report.html",
    "compose": "set nodules into whole scans: volumes with known lesions to measure on",
    "ablation": "measure what each part of the method is worth",
    "models": "list the versions of the model; let another one serve",
    "labels": "list every label submitted; bring a former one back",
    "infer": "segment every series of a folder or PACS: DICOM SEG, NIfTI, table of lesions",
    "import": "take in the labels of a public set: LIDC-IDRI, NSCLC-Radiomics, MSD, LUNA16, slices with masks ...",
    "export": "write the final labels as DICOM SEG, SR, RTSTRUCT, NIfTI or a table of lesions",
    "chaos": "kill the server at random moments and see that nothing is lost",
    "fuzz": "send the server mutated DICOM files, requests and labels and see that it stands",
    "simulate": "replay labelled data: what each way of choosing the next case is worth",
    "benchmark": "measure indexing, frames, inference, and inference during a training",
}
_MODULES = {"import": "import_cases"}  # a command that no module can be named after


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Without the program's name; those of the process if None.

    Returns:
        Exit status: 0 if all is well, 1 if not, 2 for a wrong call or wrong settings.
    """
    parser = argparse.ArgumentParser(
        prog="python main.py", description="LungLabel. Research use only, not a medical device."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for name, summary in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if arguments[:1] == [name]:
            module = importlib.import_module(f"lib.cli.{_MODULES.get(name, name)}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    parsed = parser.parse_args(arguments)
    try:
        return parsed.run(parsed)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
