"""``python main.py train-clicks``: offline training of the model that outlines what a user clicks at."""

import argparse
import logging

from lib.cli.train import add_data_arguments, add_loop_arguments, begin_long_work, folders_of
from lib.settings import load_info
from lib.training.click_data import read_click_data
from lib.training.click_fitting import fit_clicks
from lib.training.run_settings import LoopSettings, settings_of_options

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    add_data_arguments(parser)
    add_loop_arguments(parser, LoopSettings(steps=4000, cycles=1, batch_size=8, learning_rate=0.002, save_every=200))
    parser.add_argument("--phantoms", type=int, default=4, help="generated chests to train on as well (default 4)")


def run(args: argparse.Namespace) -> int:
    """Train on the patients that are not held out, and write weights and manifest to ``args.output``."""
    begin_long_work(args.threads)
    settings = settings_of_options(LoopSettings, vars(args))
    info = load_info()
    data = read_click_data(folders_of(args), info, args.output / "volumes", args.leave_out, args.phantoms)
    weights = fit_clicks(data, settings, info=info, output=args.output, initial=args.initial)
    logger.info("Weights: %s", weights)
    return 0
