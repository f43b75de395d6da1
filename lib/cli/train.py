"""``python main.py train``: weights from images and masks, without the server."""

import argparse
import logging
from pathlib import Path

import torch

from lib.errors import UserError
from lib.settings import load_info
from lib.trainers.data_split import held_out
from lib.trainers.fitting import fit
from lib.trainers.scans import Scan, find_pairs, load_scan

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "--images",
        type=Path,
        nargs="+",
        required=True,
        help="folders of volumes (.nii.gz, .nii, .nrrd), or of one DICOM series each",
    )
    parser.add_argument(
        "--masks",
        type=Path,
        nargs="+",
        required=True,
        help="for each of --images: a folder of masks under the same names, or one mask file for a DICOM series",
    )
    parser.add_argument("--negatives", type=Path, nargs="*", default=[], help="volumes or DICOM series without tumour")
    parser.add_argument("--output", type=Path, required=True, help="folder of the run; a stopped run goes on")
    parser.add_argument("--steps", type=int, default=6000, help="optimiser steps (default 6000)")
    parser.add_argument("--cycles", type=int, default=2, help="times the learning rate falls to zero (default 2)")
    parser.add_argument("--batch-size", type=int, default=24, help="patches for each step (default 24)")
    parser.add_argument("--patch-size", type=int, default=64, help="pixels of a patch's side (default 64)")
    parser.add_argument("--learning-rate", type=float, default=0.002, help="highest rate of Adam (default 0.002)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and patches (default 0)")
    parser.add_argument("--save-every", type=int, default=250, help="steps between checkpoints (default 250)")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")


def run(args: argparse.Namespace) -> int:
    """Train on the patients that are not held out, and leave weights and manifest in ``args.output``."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if len(args.images) != len(args.masks):
        raise UserError(f"Give one of --masks for each of --images: got {len(args.masks)} for {len(args.images)}.")
    if args.threads:
        torch.set_num_threads(args.threads)
    info = load_info()
    pairs = [pair for images, masks in zip(args.images, args.masks, strict=True) for pair in find_pairs(images, masks)]
    pairs += [pair for folder in args.negatives for pair in find_pairs(folder, None)]
    logger.info("Reading %d volumes.", len(pairs))
    scans = [load_scan(image, mask, info["preprocessing"], args.output / "volumes") for image, mask in pairs]
    crops = [scan for scan in scans if not _is_whole(scan, info)]
    hosts = [scan for scan in scans if _is_whole(scan, info)]
    train_crops = [scan for scan in crops if not held_out(scan.patient)]
    test_crops = [scan for scan in crops if held_out(scan.patient)]
    logger.info(
        "%d crops of %d patients to train on, %d of %d held out; %d whole scans.",
        *(len(train_crops), len({scan.patient for scan in train_crops})),
        *(len(test_crops), len({scan.patient for scan in test_crops})),
        len(hosts),
    )
    data = {
        "crops": [scan.name for scan in train_crops],
        "held_out_crops": [scan.name for scan in test_crops],
        "whole_scans": {scan.name: int(scan.label.sum()) for scan in hosts},
    }
    weights = fit(
        train_crops,
        hosts,
        test_crops,
        info=info,
        output=args.output,
        steps=args.steps,
        cycles=args.cycles,
        batch_size=args.batch_size,
        patch_size=args.patch_size,
        learning_rate=args.learning_rate,
        seed=args.seed,
        save_every=args.save_every,
        data=data,
    )
    logger.info("Weights: %s", weights)
    return 0


def _is_whole(scan: Scan, info: dict) -> bool:
    """A whole scan fills at least half of the field; less is a crop."""
    return min(scan.image.shape[:2]) >= min(info["preprocessing"]["size"]) / 2
