"""``python main.py audit``: check the audit log, and export it."""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path
from typing import TextIO

from lib.cli.arguments import settings_of_workspace
from lib.errors import UserError
from lib.identity.audit_log import AuditLog

_COLUMNS = (
    *("time", "user", "role", "action", "status", "address", "account"),
    *("study", "series", "instance", "image", "label", "tag", "number", "output", "model", "version"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--workspace", required=True, help="folder of the workspace, which the server prints at start")
    parser.add_argument("--output", type=Path, metavar="FILE.csv", help="write a new CSV file instead of the screen")


def run(args: argparse.Namespace) -> int:
    """Write the entries as CSV, and return 1 if one was changed or removed."""
    settings = settings_of_workspace(args.workspace)
    log = AuditLog(settings.audit_file)
    if not log.path.exists():
        raise UserError(f"There is no audit log {log.path}: no server with log-in has used this workspace yet.")
    if args.output:
        try:
            with args.output.open("x", newline="", encoding="utf-8") as file:
                _write(log, file)
        except OSError as error:
            raise UserError(f"{args.output} cannot be written: {error.strerror}.") from error
    else:
        _write(log, sys.stdout)
    problems = log.problems()
    print(f"SHA-256 of the last line, to be kept elsewhere as a proof: {log.last_hash()}", file=sys.stderr)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _write(log: AuditLog, file: TextIO) -> None:
    writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore")
    writer.writeheader()
    for entry in log.entries():
        if "damaged" not in entry:
            seconds = time.gmtime(entry["time"])
            writer.writerow({**entry, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", seconds)})
