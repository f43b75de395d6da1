"""``python main.py acquisition``: what the model finds on thicker slices and with a sharper kernel."""

from __future__ import annotations

import argparse
import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

from lib.cli.train import begin_long_work
from lib.datastore.series_folder import largest_series_volume
from lib.evaluation.composed_scans import Volume, read_volume
from lib.evaluation.tables import markdown_table
from lib.inference import ModelDescription, Predictor
from lib.publishing.version_files import PRETRAINED_FILE
from lib.settings import APP_DIR, load_info
from lib.storage.atomic import write_json
from lib.training.scans import find_cases
from tools.acquisition.kernel_change import KernelChange
from tools.acquisition.measuring import Measured, measure, summary, variants

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="whole scans, as for train")
    parser.add_argument("--masks", type=Path, nargs="+", required=True, help="their lesions, as for train")
    parser.add_argument("--join", type=int, nargs="*", default=[2, 3, 4], help="slices to join (default 2 3 4)")
    parser.add_argument(
        "--kernels",
        type=Path,
        nargs=2,
        metavar=("SOFT", "SHARP"),
        help="folders of two DICOM series of one acquisition, of which the change of kernel is learned",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        default=APP_DIR / "model" / PRETRAINED_FILE,
        help="weights, with the second stage inside or beside them (default: the shipped ones)",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for acquisition.json and temporary files")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")


def run(args: argparse.Namespace) -> int:
    """Measure weights on each variant of each scan, and print a table."""
    begin_long_work(args.threads)
    scans = [read_volume(*case[:3]) for case in find_cases(args.images, args.masks, args.output / "volumes")]
    change = KernelChange.between(*(_series(path, args.output) for path in args.kernels)) if args.kernels else None
    predictor = Predictor.from_file(args.weights, ModelDescription.from_info(load_info(), args.weights.parent))
    measured: dict[str, list[Measured]] = defaultdict(list)
    results: dict[str, Any] = {}
    for scan in scans:  # so that a run that is stopped has measured all variants on the same scans
        for name, variant in variants(args.join, change):
            measured[name].append(measure(scan, variant, predictor, args.output / "scratch"))
            logger.info("%s, %s: %s", scan.name, name, summary(measured[name][-1:]))
        results = {name: summary(found) for name, found in measured.items()}
        write_json(args.output / "acquisition.json", results)
    print(_table(results))
    return 0


def _series(folder: Path, output: Path) -> Volume:
    return read_volume(folder.name, largest_series_volume(folder, output / "volumes").path, None)


def _table(results: dict[str, Any]) -> str:
    sizes = list(next(iter(results.values()))["found"])
    rows = [
        (
            f"{name}, {one['spacing_mm']:g} mm",
            *(f"{count} of {of}, Dice {one['dice'].get(size, 0):.2f}" for size, (count, of) in one["found"].items()),
            f"{one['false_findings_per_scan']:.1f}",
        )
        for name, one in results.items()
    ]
    return markdown_table(("Scans", *sizes, "false findings a scan"), rows)
