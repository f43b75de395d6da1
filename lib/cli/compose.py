"""``python main.py compose``: whole scans with known lesions for evaluation, where few real ones are labelled."""

import argparse
import logging
from pathlib import Path

import numpy as np

from lib.cli.train import begin_long_work
from lib.errors import UserError
from lib.evaluation.composed_scans import compose, find_lung, is_in_lung, read_volume, save_volume
from lib.storage.atomic import write_json
from lib.training.data_split import held_out
from lib.training.scans import find_cases

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--scans", type=Path, nargs="+", required=True, help="whole scans, as --images of train")
    parser.add_argument("--scan-masks", type=Path, nargs="+", required=True, help="their own lesions, as --masks")
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="crops with a nodule, as for train")
    parser.add_argument("--masks", type=Path, nargs="+", required=True, help="as for train")
    parser.add_argument("--held-out", action="store_true", help="only nodules of patients that train keeps for testing")
    parser.add_argument("--nodules", type=int, default=12, help="number pasted into each copy of a scan (default 12)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the placement (default 0)")
    parser.add_argument("--output", type=Path, required=True, help="folder for images, masks and compose.json")


def run(args: argparse.Namespace) -> int:
    """Paste each nodule that is in lung into a copy of a scan, alternating between the scans, as input for evaluate."""
    begin_long_work(None)
    if args.nodules < 1:
        raise UserError(f"--nodules must be 1 or more, got {args.nodules}.")
    crops = find_cases(args.images, args.masks, args.output / "volumes")
    if args.held_out:
        crops = [crop for crop in crops if held_out(crop.patient)]
    crops = [crop for crop in crops if is_in_lung(read_volume(*crop[:3]))]
    if not crops:
        raise UserError("None of the nodules is in lung and belongs to a held-out patient; try without --held-out.")
    logger.info("%d nodules are in lung.", len(crops))
    scans = [read_volume(*case[:3]) for case in find_cases(args.scans, args.scan_masks, args.output / "volumes")]
    rng = np.random.default_rng(args.seed)
    parts = [crops[index] for index in rng.permutation(len(crops))]
    parts = [parts[start : start + args.nodules] for start in range(0, len(parts), args.nodules)]
    lungs = [find_lung(scan) for scan in scans]
    made = {}
    for number, part in enumerate(parts):
        scan = scans[number % len(scans)]
        nodules = [read_volume(crop.name, crop.image, crop.mask, spacing=scan.spacing) for crop in part]
        volume, placed = compose(scan, lungs[number % len(scans)], nodules, rng)
        name = f"{scan.name}_{number}"
        save_volume(volume, name, args.output)
        made[name] = placed
        logger.info("%d of %d: %s with %d nodules", number + 1, len(parts), name, len(placed))
    write_json(args.output / "compose.json", {"seed": args.seed, "nodules": made})
    return 0
