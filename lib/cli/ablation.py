"""``python main.py ablation``: contribution of each part of the method, on the same data with the same budget."""

import argparse
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.cli.train import add_crops_first, add_data_arguments, begin_long_work, folders_of
from lib.errors import UserError
from lib.evaluation.ablation import VARIANTS, Variant, table
from lib.evaluation.cases import CaseResult, evaluate_case
from lib.evaluation.claims import check_claims
from lib.evaluation.claims import html as claims_table
from lib.evaluation.claims import markdown as claims_markdown
from lib.evaluation.measuring import Case, measure_models
from lib.evaluation.report import render
from lib.evaluation.summary import summarize
from lib.evaluation.tables import html_table, markdown_table
from lib.inference import ModelDescription, Predictor
from lib.settings import APP_DIR, load_info
from lib.storage.atomic import write_atomically, write_json
from lib.training.data_split import held_out
from lib.training.fitting import fit
from lib.training.run_manifest import WEIGHTS
from lib.training.run_settings import RunSettings
from lib.training.scans import find_cases
from lib.training.training_data import TrainingData, read_training_data

logger = logging.getLogger(__name__)

Cases = list[Case]
Runs = dict[str, list[dict[str, list[CaseResult]]]]
"""By variant, for each seed the results by test set."""
Summaries = dict[str, list[dict[str, dict[str, Any]]]]
"""By variant, for each seed the summaries by test set."""

_CROPS = "crops"
_IN_REPORT = ("unet", "hybrid")  # the paper compares these two


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
        "--no-robustness",
        action="store_true",
        help="leave out the five changes of intensity of the crops, in the first training",
    )
    parser.add_argument(
        "--second-stage",
        type=Path,
        default=APP_DIR / "model",
        help="folder of the candidate classifier, never trained on the test patients (default: the shipped one)",
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")


def run(args: argparse.Namespace) -> int:
    """Train and measure each variant with each seed; write ``ablation.json``, ``ablation.md`` and ``report.html``."""
    begin_long_work(args.threads)
    variants = [variant for variant in VARIANTS if not args.variants or variant.name in args.variants]
    tests = _test_sets(args)
    data = _DataBySettings(args)
    runs: Runs = {variant.name: [] for variant in variants}
    summaries: Summaries = {variant.name: [] for variant in variants}
    # Seeds outermost, so that the variants finished so far are comparable if the run is stopped.
    for seed in range(args.seeds):
        for variant in variants:
            runs[variant.name].append(_measured(variant, seed, tests, data, args))
            summaries[variant.name].append({test: summarize(found) for test, found in runs[variant.name][-1].items()})
            text = _write_tables(runs, summaries, tests, args)
    _write_report(runs, summaries, tests, args)
    print(text)
    return 0


def _write_tables(runs: Runs, summaries: Summaries, tests: Mapping[str, Cases], args: argparse.Namespace) -> str:
    """Write ``ablation.json`` and ``ablation.md``, and return the text of the latter."""
    claims = {test: check_claims(_of_test(runs, test)) for test in tests}
    write_json(args.output / "ablation.json", {"steps": args.steps, "results": summaries, "claims": claims})
    head, rows = table(summaries, list(tests))
    parts = [markdown_table(head, rows)]
    parts += [f"Claims, {test}:\n\n{claims_markdown(found)}" for test, found in claims.items() if found]
    text = "\n".join(parts)
    write_atomically(args.output / "ablation.md", lambda path: path.write_text(text, encoding="utf-8"))
    return text


def _write_report(runs: Runs, summaries: Summaries, tests: Mapping[str, Cases], args: argparse.Namespace) -> None:
    """Write the paper's Tables 1 to 4 and Figures 2 and 3, of the first seed, but for the table of all variants."""
    test, cases = next(iter(tests.items()))
    compared = [variant for variant in VARIANTS if variant.name in _IN_REPORT and runs.get(variant.name)]
    if not compared:
        return
    predictors = {variant.title: _predictor(variant, _folder(variant, 0, args), args) for variant in compared}
    _, shown = measure_models(cases, predictors, robustness=False)
    title = f"Table 4: mean ± standard deviation of {args.seeds} trainings of {args.steps} steps"
    page = render(
        f"Measured on {len(cases)} {test}, patients held out from training; all but Table 4 are of the first training.",
        {variant.title: summaries[variant.name][0][test] for variant in compared},
        shown,
        [html_table(title, *table(summaries, list(tests))), claims_table(check_claims(_of_test(runs, test)))],
    )
    write_atomically(args.output / "report.html", lambda path: path.write_text(page, encoding="utf-8"))


def _of_test(runs: Runs, test: str) -> dict[str, list[list[CaseResult]]]:
    return {name: [run[test] for run in of_seeds] for name, of_seeds in runs.items()}


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


def _folder(variant: Variant, seed: int, args: argparse.Namespace) -> Path:
    return args.output / (variant.trained_as or variant.name) / str(seed)


def _measured(
    variant: Variant, seed: int, tests: Mapping[str, Cases], data: _DataBySettings, args: argparse.Namespace
) -> dict[str, list[CaseResult]]:
    """Return the results of one variant and seed by test set, from its file if it was measured before."""
    folder = _folder(variant, seed, args)
    done = folder / f"{variant.name}.json"
    if done.exists():
        saved = json.loads(done.read_text(encoding="utf-8"))
        return {test: [CaseResult.from_json(case) for case in cases] for test, cases in saved.items()}
    if variant.trained_as is None:
        info = variant.info(load_info())
        settings = RunSettings(
            steps=args.steps,
            cycles=1,
            batch_size=args.batch_size,
            seed=seed,
            save_every=min(args.steps, 1000),
            bfloat16=args.bfloat16,
            crops_first=args.crops_first,
        )
        fit(data(info), settings, info=info, output=folder)
    predictor = _predictor(variant, folder, args)
    # On crops and of the first training only: each change of intensity is one more prediction of every image, which on
    # whole scans takes minutes, and on all crops as long as half of a training.
    robustness = seed == 0 and not args.no_robustness
    results = {
        test: [evaluate_case(*case, predictor, robustness and test == _CROPS)[0] for case in cases]
        for test, cases in tests.items()
    }
    write_json(done, {test: [case.to_json() for case in cases] for test, cases in results.items()})
    dice = {test: round(summarize(cases)["dice"], 3) for test, cases in results.items()}
    logger.info("%s, seed %d: Dice %s", variant.title, seed, dice)
    return results


def _predictor(variant: Variant, folder: Path, args: argparse.Namespace) -> Predictor:
    info = variant.info(load_info())
    second_stage = args.second_stage if variant.second_stage else None
    return Predictor.from_file(folder / WEIGHTS, ModelDescription.from_info(info, second_stage))


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
    return {name: [case[:4] for case in cases] for name, cases in sets.items() if cases}
