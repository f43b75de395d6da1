"""``python main.py fuzz``: send mutated DICOM files, requests, labels and log-ins to the real server."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib.cli.output_folder import new_folder
from lib.errors import UserError
from tools.commands.summary import report
from tools.fuzz.fuzz_campaign import FuzzCampaign
from tools.fuzz.login_campaign import LoginCampaign
from tools.fuzz.provider_campaign import ProviderCampaign


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--count", type=int, default=2000, help="number of cases (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="number of the first case (default 0)")
    parser.add_argument("--cases", type=int, nargs="+", help="only these cases, to repeat failed ones")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--login", action="store_true", help="attacks on log-in instead of files and requests")
    kind.add_argument("--roles", action="store_true", help="roles that change at an identity provider (Node.js)")
    parser.add_argument(
        "--output", type=Path, help="new folder: all files, summary.json, failures.json (default: temporary)"
    )


def run(args: argparse.Namespace) -> int:
    """Run all cases and print a summary; return 1 if any failed."""
    if args.count < 1 or args.seed < 0 or min(args.cases or [0]) < 0:
        raise UserError("--count must be at least 1, --seed and --cases at least 0.")
    folder = new_folder(args.output, "fuzz")
    cases = args.cases or range(args.seed, args.seed + args.count)
    campaign = LoginCampaign if args.login else ProviderCampaign if args.roles else FuzzCampaign
    summary = campaign(folder.resolve(), cases, lambda line: print(line, flush=True)).run()
    return report(summary, folder, failures="failures", keep=args.output is not None)
