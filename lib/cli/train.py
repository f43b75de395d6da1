"""``python main.py train``: offline training of weights on images and masks, without the server."""

import argparse
import logging
import os
from functools import partial
from pathlib import Path

import torch

from lib.settings import load_info
from lib.training.data_folders import DataFolders
from lib.training.fitting import fit
from lib.training.run_settings import LoopSettings, RunSettings, settings_of_options
from lib.training.training_data import read_training_data

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    add_data_arguments(parser)
    default = RunSettings()
    add_loop_arguments(parser, default)
    _add_setting(parser, default, "patch_size", "pixels of a patch's side")
    add_crops_first(parser)
    _add_setting(
        parser, default, "decoys", "most pieces without a nodule, of other scans and crops, pasted into each patch"
    )
    _add_setting(
        parser,
        default,
        "large_tumours",
        "share of the patches with pasted nodules that have a large tumour instead",
    )
    parser.add_argument("--patients", type=int, help="use the crops of this number of patients only (default: all)")


def add_loop_arguments(parser: argparse.ArgumentParser, default: LoopSettings) -> None:
    """Declare the options of the training loop."""
    number = partial(_add_setting, parser, default)
    parser.add_argument("--output", type=Path, required=True, help="folder of the run; a stopped run is resumed")
    number("steps", "optimiser steps")
    number("cycles", "cosine cycles of the learning rate")
    number("batch_size", "patches or cubes for each step")
    number("learning_rate", "highest rate of Adam")
    number("seed", "random seed of weights and data")
    number("save_every", "steps between checkpoints")
    parser.add_argument("--bfloat16", action="store_true", help="half precision; faster where the processor has it")
    parser.add_argument(
        "--leave-out", nargs="+", default=[], metavar="PATIENT", help="train on no image of these patients"
    )
    parser.add_argument(
        "--initial", type=Path, help="initial weights, a model.pt with its manifest.json (default: random)"
    )
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")


def _add_setting(parser: argparse.ArgumentParser, default: LoopSettings, name: str, meaning: str) -> None:
    """Declare the option of a setting that is a number."""
    value = getattr(default, name)
    option = f"--{name.replace('_', '-')}"
    parser.add_argument(option, type=type(value), default=value, help=f"{meaning} (default {value})")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that name the data."""
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
        help="for each of --images: a folder of masks under the same names, or one mask file for a DICOM series; a "
        "mask with a fourth axis holds those of several readers",
    )
    parser.add_argument("--negatives", type=Path, nargs="*", default=[], help="volumes or DICOM series without tumour")


def add_crops_first(parser: argparse.ArgumentParser) -> None:
    """Declare the option for the order in which patches are seen."""
    parser.add_argument(
        "--crops-first",
        type=float,
        default=1 / 3,
        help="share of the steps that change from crops only to the full mixture of crops and lungs (default a third); "
        "0 is the full mixture from the first step, for weights already trained on crops",
    )


def begin_long_work(threads: int | None) -> None:
    """Log with the time of day, the first process only, and limit the number of CPU threads if given."""
    level = logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if threads:
        torch.set_num_threads(threads)


def run(args: argparse.Namespace) -> int:
    """Train on the patients that are not held out, and write weights and manifest to ``args.output``."""
    begin_long_work(args.threads)
    settings = settings_of_options(RunSettings, vars(args))
    info = load_info()
    data = read_training_data(folders_of(args), info, args.output / "volumes").leaving_out(args.leave_out)
    if args.patients is not None:
        data = data.of_patients(args.patients)
    weights = fit(data, settings, info=info, output=args.output, initial=args.initial)
    logger.info("Weights: %s", weights)
    return 0


def folders_of(args: argparse.Namespace) -> DataFolders:
    """Return the folders given by the options of `add_data_arguments`."""
    return DataFolders(tuple(args.images), tuple(args.masks), tuple(args.negatives))
