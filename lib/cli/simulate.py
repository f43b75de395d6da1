"""``python main.py simulate``: comparison of active learning strategies on replayed labelled data.

With ``--whole-scans`` it replays a user's first labels instead; see `lib.cli.simulate_whole_scans`.
"""

import argparse
import dataclasses
import hashlib
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.cli import simulate_whole_scans
from lib.cli.train import begin_long_work
from lib.errors import UserError, in_one_line
from lib.publishing.version_files import PRETRAINED_FILE
from lib.settings import APP_DIR, load_info
from lib.simulation.comparison import compare
from lib.simulation.effort import clicks_until_goal, strokes_or_clicks
from lib.simulation.replay import COMPARED, STRATEGIES, Plan, StartingPoint, replay
from lib.simulation.report import sentences, table, write_plot
from lib.storage.atomic import write_atomically, write_json
from lib.training.data_split import held_out
from lib.training.scans import find_all_pairs, load_scan

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "--images", type=Path, nargs="+", required=True, help="folders of volumes, or of one DICOM series each"
    )
    parser.add_argument(
        "--masks", type=Path, nargs="+", required=True, help="for each a folder of masks with the same names, or a mask"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the results; finished runs are kept")
    parser.add_argument(
        "--whole-scans",
        action="store_true",
        help="retrain the weights on the first labels as the server does, and measure patients left out",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        default=APP_DIR / "model" / PRETRAINED_FILE,
        help="with --whole-scans: initial weights, beside their manifest and second stage (default: the shipped ones)",
    )
    parser.add_argument(
        "--second-stages",
        type=Path,
        help="with --whole-scans: folder candidates of a run of weights, by a recipe whose folds share --weights; "
        "each patient is measured with the second stage that has not seen it (default: the one beside --weights)",
    )
    parser.add_argument(
        "--labels",
        type=int,
        nargs="+",
        default=[1, 2, 3],
        help="with --whole-scans: numbers of labelled patients (default 1 2 3)",
    )
    parser.add_argument(
        "--elsewhere-images",
        type=Path,
        nargs="*",
        default=[],
        help="with --whole-scans: crops of another site; measures what --rounds trainings on --images, all of which "
        "are put into use, change in those of hold-out patients",
    )
    parser.add_argument(
        "--elsewhere-masks", type=Path, nargs="*", default=[], help="for each of --elsewhere-images, as --masks"
    )
    parser.add_argument(
        "--strategies",
        nargs="+",
        choices=STRATEGIES,
        default=list(COMPARED),
        metavar="NAME",
        help=f"of {', '.join(STRATEGIES)} (default: the first {len(COMPARED)})",
    )
    parser.add_argument("--seeds", type=int, default=5, help="runs of each strategy (default 5)")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of corrections (default 10)")
    parser.add_argument("--start", type=int, default=8, help="labels of the weak model (default 8)")
    parser.add_argument("--per-round", type=int, default=8, help="labels of each round (default 8)")
    parser.add_argument("--pool", type=int, help="cases drawn for each seed to choose from (default: all)")
    parser.add_argument("--start-steps", type=int, default=100, help="training of the weak model (default 100)")
    parser.add_argument("--steps", type=int, default=60, help="training in each round (default 60)")
    parser.add_argument("--batch-size", type=int, default=16, help="patches for each step (default 16)")
    parser.add_argument("--patch-size", type=int, default=48, help="pixels of a patch's side (default 48)")
    parser.add_argument("--learning-rate", type=float, default=0.004, help="highest rate of Adam (default 0.004)")
    parser.add_argument(
        "--server-rule",
        action="store_true",
        help="train the rounds, but not the weak model, with the epochs, rate and share of weights of info.yaml",
    )
    parser.add_argument(
        "--opening", type=float, default=5.0, help="effort of opening a case, in strokes of correction (default 5)"
    )
    parser.add_argument(
        "--clicks",
        type=Path,
        metavar="FILE",
        help="metrics.json of evaluate --clicks on the same images: where clicks outline a case and are fewer than its "
        "strokes, they are its effort",
    )
    parser.add_argument("--channels", type=int, nargs="+", help="width of each level (default: as in info.yaml)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")


def run(args: argparse.Namespace) -> int:
    """Replay every strategy with every seed; write ``simulation.json``, ``curve.png`` and ``table.md``."""
    begin_long_work(args.threads)
    if args.whole_scans:
        return simulate_whole_scans.run(args)
    for name in ("second_stages", "elsewhere_images", "elsewhere_masks"):
        if getattr(args, name):
            raise UserError(f"--{name.replace('_', '-')} is an option of --whole-scans. Add that, or leave it out.")
    clicks = _clicks(args.clicks) if args.clicks else None
    info = load_info()
    if args.channels:
        info["network"]["channels"] = args.channels
    pairs = find_all_pairs(args.images, args.masks)
    logger.info("Reading %d volumes.", len(pairs))
    scans = [load_scan(image, mask, info["preprocessing"], args.output / "volumes") for image, mask in pairs]
    cases = [scan for scan in scans if not held_out(scan.patient)]
    test = [scan for scan in scans if held_out(scan.patient)]
    plan = _plan(args, len(cases))
    if not test:
        raise UserError("None of the patients is held out: too few for a simulation (15 in 100 are, by their name).")
    settings = {
        "plan": dataclasses.asdict(plan),
        "network": info["network"],
        "preprocessing": info["preprocessing"],
        "train": _train_settings(info, plan),
        "cases": len(cases),
        "patients": len({case.patient for case in cases}),
        "held_out_cases": len(test),
        "held_out_patients": len({case.patient for case in test}),
        "names_sha256": hashlib.sha256("\n".join(sorted(scan.name for scan in scans)).encode()).hexdigest(),
    }
    runs: dict[str, dict[int, Any]] = {strategy: {} for strategy in args.strategies}
    for seed in range(args.seeds):
        start = None
        for strategy in args.strategies:
            path = args.output / "runs" / f"{strategy}-{seed}.json"
            if not path.exists():
                start = start or StartingPoint(cases, test, info=info, plan=plan, seed=seed)
                write_json(path, {"settings": settings, "rounds": replay(start, strategy, _progress(args, seed))})
            runs[strategy][seed] = _finished(path, settings)
    if clicks is not None:
        runs = _with_clicks(runs, clicks)
    curves = compare(runs, args.opening)
    measured_on = (
        f"{len(test)} cases of {settings['held_out_patients']} held-out patients, {args.seeds} seeds, "
        f"{plan.pool} cases to choose from"
    )
    write_json(
        args.output / "simulation.json",
        {
            "measured_on": measured_on,
            "opening": args.opening,
            "settings": settings,
            "strategies": curves,
            "runs": runs,
        },
    )
    write_plot(curves, f"Dice on {measured_on}", args.output / "curve.png")
    text = "\n".join([f"Dice on {measured_on}.\n", table(curves), *sentences(curves), ""])
    write_atomically(args.output / "table.md", lambda part: part.write_text(text, encoding="utf-8"))
    print(text)
    return 0


def _train_settings(info: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """Return the settings of info.yaml that a run depends on: without the rule of the server, only the loss."""
    settings = info["config"]["train"]
    return {name: value for name, value in settings.items() if plan.server_rule or name.startswith(("loss", "focal"))}


def _clicks(metrics: Path) -> dict[str, int | None]:
    """Return the clicks that outline each image.

    Raises:
        UserError: The file cannot be read, or is not of clicks of one model.
    """
    try:
        return clicks_until_goal(metrics)
    except (OSError, ValueError, KeyError) as error:
        problem = in_one_line(error)
        raise UserError(f"{metrics} has no clicks of one model ({problem}). Run evaluate --clicks 5.") from error


def _with_clicks(runs: dict[str, dict[int, Any]], clicks: Mapping[str, int | None]) -> dict[str, dict[int, Any]]:
    """Return the runs with the effort of each case in strokes or clicks.

    Raises:
        UserError: Clicks on a case were not measured.
    """
    try:
        return {
            strategy: {
                seed: [strokes_or_clicks(entry, clicks) for entry in rounds] for seed, rounds in of_seeds.items()
            }
            for strategy, of_seeds in runs.items()
        }
    except KeyError as missing:
        raise UserError(f"--clicks has none on {missing}. Measure all images of the simulation.") from None


def _plan(args: argparse.Namespace, available: int) -> Plan:
    """Return the options as a plan.

    Raises:
        UserError: An option is out of its range, or there are too few cases for the number of labels.
    """
    for name in ("seeds", "rounds", "start", "per_round"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1.")
    if not 0 <= args.opening < math.inf:
        raise UserError("--opening must be a number of strokes, 0 or more.")
    pool = args.pool or available
    wanted = args.start + args.rounds * args.per_round
    if not wanted <= pool <= available:
        raise UserError(
            f"{args.start} labels and {args.rounds} rounds of {args.per_round} make {wanted} labels; the pool has "
            f"{pool} of {available} cases of patients not held out. Ask for fewer rounds, or a pool in between."
        )
    return Plan(**{field.name: getattr(args, field.name) for field in dataclasses.fields(Plan)} | {"pool": pool})


def _progress(args: argparse.Namespace, seed: int) -> Any:
    def report(strategy: str, number: int, labels: int, dice: float) -> None:
        logger.info(
            "Seed %d of %d, %s, round %d of %d: %d labels, Dice %.3f",
            *(seed + 1, args.seeds, strategy, number, args.rounds, labels, dice),
        )

    return report


def _finished(path: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Read the rounds of a run.

    Raises:
        UserError: The run was made with other settings or data.
    """
    run = json.loads(path.read_text(encoding="utf-8"))
    if run["settings"] != json.loads(json.dumps(settings)):
        raise UserError(f"{path} contains a run with other settings or data. Give another --output, or delete it.")
    return run["rounds"]
