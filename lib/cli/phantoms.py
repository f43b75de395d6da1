"""``python main.py phantoms DIR``: write chest CT phantoms as DICOM."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib.phantoms import write_demo_studies


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("directory", type=Path, help="where the DICOM files go")
    parser.add_argument("--truth", type=Path, help="where the lesion masks go (NIfTI); not inside DIRECTORY")


def run(args: argparse.Namespace) -> int:
    """Write the phantoms."""
    series = write_demo_studies(args.directory, truth=args.truth)
    print(f"{len(series)} CT series of phantoms in {args.directory}")
    return 0
