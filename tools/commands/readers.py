"""``python main.py readers``: let several readers work at once, and check that nothing of theirs is lost."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib.cli.output_folder import new_folder
from tools.commands.summary import report
from tools.readers.campaign import measure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--count", type=int, default=10, help="number of readers (default 10)")
    parser.add_argument("--minutes", type=float, default=30.0, help="time that they work (default 30)")
    parser.add_argument("--output", type=Path, help="new folder for all files and summary.json (default: temporary)")


def run(args: argparse.Namespace) -> int:
    """Run the readers and print the summary; return 1 if anything was lost or failed."""
    folder = new_folder(args.output, "readers").resolve()
    summary = measure(folder, args.count, args.minutes, lambda line: print(line, flush=True))
    return report(summary, folder, failures="problems", keep=args.output is not None)
