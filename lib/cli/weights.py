"""``python main.py weights``: the training of the shipped weights, stage by stage, by a recipe."""

import argparse
import logging
from pathlib import Path

from lib.cli.train import begin_long_work
from lib.publishing.stores import CLICKS, SHIPPED_FILES
from lib.publishing.version_files import PRETRAINED_FILE
from lib.settings import APP_DIR, load_info
from lib.training.recipe import Recipe
from lib.training.recipe_candidates import train_candidates
from lib.training.recipe_clicks import train_click_model
from lib.training.recipe_runs import train_runs
from lib.training.shipping import install

logger = logging.getLogger(__name__)

_MODEL_DIR = APP_DIR / "model"
_RECIPE = _MODEL_DIR / "recipe.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, help="folder that the paths of the recipe are relative to")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="folder of all runs; finished ones are kept, a stopped one resumes",
    )
    parser.add_argument(
        "--recipe", type=Path, default=_RECIPE, help="stages of the training (default: model/recipe.yaml)"
    )
    parser.add_argument(
        "--install", action="store_true", help="replace the shipped weights, their checksum and their manifest"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")


def run(args: argparse.Namespace) -> int:
    """Train all stages of the recipe that are not finished, and install the weights if that is asked for."""
    begin_long_work(args.threads)
    recipe = Recipe.read(args.recipe)
    info, runs = load_info(), recipe.runs(args.data)
    train_runs(runs, args.output, info)
    if recipe.candidates:
        train_candidates(recipe.candidates, runs, args.data, args.output, info, recipe.ship)
    trained = {PRETRAINED_FILE: args.output / recipe.ship}
    if recipe.clicks:
        trained[SHIPPED_FILES[CLICKS]] = train_click_model(recipe, args.data, args.output, info)
    if args.install:
        for file_name, folder in trained.items():
            logger.info("Installed %s", install(folder, _MODEL_DIR, file_name))
    return 0
