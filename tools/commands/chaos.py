"""``python main.py chaos``: kill the server or a cohort run repeatedly, and check that nothing is lost."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib.cli.output_folder import new_folder
from lib.errors import UserError
from tools.chaos.cohort_campaign import CohortCampaign
from tools.chaos.kill_campaign import KillCampaign
from tools.commands.summary import report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--kills", type=int, default=100, help="number of kills (default 100)")
    parser.add_argument(
        "--cohort", type=int, metavar="SERIES", help="kill `infer --workers 2` on this many phantoms, not the server"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of order, victims and delays (default 0)")
    parser.add_argument("--output", type=Path, help="new folder for all files and summary.json (default: temporary)")


def run(args: argparse.Namespace) -> int:
    """Run the campaign and print its summary; return 1 if anything was lost or damaged."""
    for name, value in (("--kills", args.kills), ("--cohort", args.cohort)):
        if value is not None and value < 1:
            raise UserError(f"{name} must be at least 1, not {value}.")
    folder = new_folder(args.output, "chaos").resolve()

    def say(line: str) -> None:
        print(line, flush=True)

    if args.cohort:
        summary = CohortCampaign(folder, args.cohort, args.kills, args.seed, say).run()
    else:
        summary = KillCampaign(folder, args.kills, args.seed, say).run()
    return report(summary, folder, failures="violations", keep=args.output is not None)
