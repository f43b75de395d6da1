"""``python main.py phantoms DIR``: write chest CT phantoms as DICOM."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib.phantoms import write_demo_studies


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("directory", type=Path, help="folder for the DICOM files")
    parser.add_argument("--truth", type=Path, help="folder for the lesion masks (NIfTI); not inside DIRECTORY")


def run(args: argparse.Namespace) -> int:
    """Write the phantoms."""
    series = write_demo_studies(args.directory, truth=args.truth)
    print(f"{len(series)} CT series of phantoms in {args.directory}")
    return 0
