"""``python main.py chaos``: kill the server again and again, and see that nothing is lost."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from lib.cli.output_folder import new_folder
from lib.errors import UserError
from tools.chaos.campaign import Campaign


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--kills", type=int, default=100, help="how many (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="of order, victims and delays (default 0)")
    parser.add_argument("--output", type=Path, help="new folder for all files and summary.json (default: temporary)")


def run(args: argparse.Namespace) -> int:
    """Kill, and say what became of it; 1 if anything was lost or damaged."""
    if args.kills < 1:
        raise UserError(f"--kills must be at least 1, not {args.kills}.")
    folder = new_folder(args.output, "chaos")
    summary = Campaign(folder.resolve(), args.kills, args.seed, lambda line: print(line, flush=True)).run()
    for name, value in summary.items():
        if name != "each":
            print(f"{name:<22} {value}")
    if args.output or summary["violations"]:
        print(f"All files and summary.json: {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if summary["violations"] else 0
