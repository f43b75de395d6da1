"""``python main.py chaos``: kill the server repeatedly, and check that nothing is lost."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib.cli.output_folder import new_folder
from lib.errors import UserError
from tools.chaos.kill_campaign import KillCampaign
from tools.commands.summary import report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--kills", type=int, default=100, help="number of kills (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of order, victims and delays (default 0)")
    parser.add_argument("--output", type=Path, help="new folder for all files and summary.json (default: temporary)")


def run(args: argparse.Namespace) -> int:
    """Run the campaign and print its summary; return 1 if anything was lost or damaged."""
    if args.kills < 1:
        raise UserError(f"--kills must be at least 1, not {args.kills}.")
    folder = new_folder(args.output, "chaos")
    summary = KillCampaign(folder.resolve(), args.kills, args.seed, lambda line: print(line, flush=True)).run()
    return report(summary, folder, failures="violations", keep=args.output is not None)
