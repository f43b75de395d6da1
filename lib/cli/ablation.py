"""``python main.py ablation``: contribution of each part of the method, on the same data with the same budget."""

import argparse
import json
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lib.cli.train import add_crops_first, add_data_arguments, begin_long_work, folders_of
from lib.errors import UserError
from lib.evaluation.ablation import VARIANTS, Variant, markdown
from lib.evaluation.cases import evaluate_case
from lib.evaluation.summary import summarize
from lib.inference import ModelDescription, Predictor
from lib.settings import APP_DIR, load_info
from lib.storage.atomic import write_atomically, write_json
from lib.training.data_split import held_out
from lib.training.fitting import fit
from lib.training.run_settings import RunSettings
from lib.training.scans import LabelledImage, find_cases
from lib.training.training_data import TrainingData, read_training_data

logger = logging.getLogger(__name__)

Cases = list[LabelledImage]

_CROPS = "crops"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    add_data_arguments(parser)
    parser.add_argument("--test-images", type=Path, nargs="*", default=[], help="whole scans never trained on")
    parser.add_argument("--test-masks", type=Path, nargs="*", default=[], help="for each of --test-images, as --masks")
    parser.add_argument(
        "--test-crops", type=int, help="about this number of held-out crops to measure on (default: all)"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of all runs; finished runs are kept")
    parser.add_argument("--variants", nargs="+", choices=[variant.name for variant in VARIANTS], help="default: all")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each variant (default 3)")
    parser.add_argument("--steps", type=int, default=1000, help="optimiser steps of each training (default 1000)")
    add_crops_first(parser)
    parser.add_argument("--batch-size", type=int, default=24, help="patches for each step (default 24)")
    parser.add_argument("--bfloat16", action="store_true", help="train in half precision")
    parser.add_argument(
        "--no-robustness", action="store_true", help="leave out the five changes of intensity of the crops"
    )
    parser.add_argument(
        "--second-stage",
        type=Path,
        default=APP_DIR / "model",
        help="folder of the candidate classifier, never trained on the test patients (default: the shipped one)",
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")


def run(args: argparse.Namespace) -> int:
    """Train and measure each variant with each seed; write ``ablation.json`` and ``ablation.md``."""
    begin_long_work(args.threads)
    variants = [variant for variant in VARIANTS if not args.variants or variant.name in args.variants]
    tests = _test_sets(args)
    data = _DataBySettings(args)
    results: dict[str, list[dict[str, Any]]] = {variant.name: [] for variant in variants}
    # Seeds outermost, so that the variants finished so far are comparable if the run is stopped.
    for seed in range(args.seeds):
        for variant in variants:
            folder = args.output / (variant.trained_as or variant.name) / str(seed)
            results[variant.name].append(_measured(variant, seed, folder, tests, data, args))
            write_json(args.output / "ablation.json", {"steps": args.steps, "results": results})
            table = markdown(results, list(tests))
            write_atomically(args.output / "ablation.md", partial(Path.write_text, data=table, encoding="utf-8"))
    print(table)
    return 0


class _DataBySettings:
    """Training data, cached by the preprocessing settings."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._read: dict[str, TrainingData] = {}

    def __call__(self, info: Mapping[str, Any]) -> TrainingData:
        key = json.dumps(info["preprocessing"])
        if key not in self._read:
            args = self._args
            self._read[key] = read_training_data(folders_of(args), info, args.output / "volumes")
        return self._read[key]


def _measured(
    variant: Variant,
    seed: int,
    folder: Path,
    tests: Mapping[str, Cases],
    data: _DataBySettings,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Return the summaries of one variant and seed by test set, from its file if it was measured before."""
    done = folder / f"{variant.name}.json"
    if done.exists():
        return json.loads(done.read_text(encoding="utf-8"))
    info = variant.info(load_info())
    weights = folder / "model.pt"
    if variant.trained_as is None:
        settings = RunSettings(
            steps=args.steps,
            cycles=1,
            batch_size=args.batch_size,
            seed=seed,
            save_every=min(args.steps, 1000),
            bfloat16=args.bfloat16,
            crops_first=args.crops_first,
        )
        weights = fit(data(info), settings, info=info, output=folder)
    predictor = Predictor.from_file(
        weights, ModelDescription.from_info(info, args.second_stage if variant.second_stage else None)
    )
    # On crops only: each change of intensity is one more prediction, which takes minutes on whole scans.
    summaries = {
        test: summarize(
            [evaluate_case(*case[:4], predictor, not args.no_robustness and test == _CROPS)[0] for case in cases]
        )
        for test, cases in tests.items()
    }
    write_json(done, summaries)
    logger.info(
        "%s, seed %d: Dice %s", variant.title, seed, {test: round(s["dice"], 3) for test, s in summaries.items()}
    )
    return summaries


def _test_sets(args: argparse.Namespace) -> dict[str, Cases]:
    """Return the test sets: crops of the held-out patients, and whole scans."""
    cases = find_cases(args.images, args.masks, args.output / "volumes")
    crops = [case for case in cases if not case.is_dicom and held_out(case.patient)]
    sets = {
        _CROPS: crops[:: max(1, len(crops) // args.test_crops)] if args.test_crops else crops,
        "scans": find_cases(args.test_images, args.test_masks, args.output / "volumes"),
    }
    if not any(sets.values()):
        raise UserError("There is nothing to measure on: no patient is held out and no --test-images were given.")
    return {name: cases for name, cases in sets.items() if cases}
