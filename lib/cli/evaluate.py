"""``python main.py evaluate``: accuracy of weights on images with masks."""

import argparse
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.cli.arguments import add_workers, workers_of
from lib.cli.evaluate_clicks import evaluate_clicks
from lib.cli.output_folder import folder_of_run
from lib.cli.train import begin_long_work
from lib.clicks.automatic import AutomaticModel
from lib.cohort.evaluation import Evaluation, evaluate_cases, model_of
from lib.errors import UserError
from lib.evaluation.cases import CaseResult
from lib.evaluation.froc import LIMITS, operating_points
from lib.evaluation.measuring import Case, MeasuredCase, collect
from lib.evaluation.reader_report import reader_text
from lib.evaluation.report import render
from lib.evaluation.summary import summarize
from lib.evaluation.textures import Texture, read_textures
from lib.inference import Predictor
from lib.settings import APP_DIR
from lib.storage.atomic import write_atomically, write_json
from lib.training.data_split import held_out
from lib.training.run_manifest import manifest_of
from lib.training.scans import LabelledImage, find_cases

logger = logging.getLogger(__name__)

_SHIPPED = APP_DIR / "model" / "pretrained_lung_tumor.pt"
_SHIPPED_FOR_CLICKS = APP_DIR / "model" / "pretrained_lung_tumor_click.pt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="as for train")
    parser.add_argument(
        "--masks",
        type=Path,
        nargs="+",
        required=True,
        help="as for train; files with the masks of several readers along a fourth axis compare the model with them",
    )
    parser.add_argument(
        "--properties",
        type=Path,
        help="JSON file of the textures that the readers gave the lesions, to compare by texture (see docs/method.md)",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for metrics.json and report.html")
    parser.add_argument(
        "--models", nargs="+", metavar="NAME=FILE", help="weights to measure (default: the shipped ones)"
    )
    parser.add_argument(
        "--clicks", type=int, metavar="N", help="measure the model for clicks instead, with N simulated clicks a lesion"
    )
    parser.add_argument(
        "--places", type=int, default=20, help="with --clicks: places of the first click, for its spread (default 20)"
    )
    parser.add_argument(
        "--automatic",
        metavar="FILE",
        default=str(_SHIPPED),
        help="with --clicks: weights of the model for whole scans, also asked, or none (default: the shipped ones)",
    )
    parser.add_argument("--held-out", action="store_true", help="only patients that train keeps for testing")
    parser.add_argument("--crf", action="store_true", help="refine with the CRF")
    parser.add_argument("--no-robustness", action="store_true", help="leave out the five changes of intensity")
    parser.add_argument(
        "--froc",
        action="store_true",
        help="also report sensitivity and false positives in whole scans at other values of false_findings_per_scan",
    )
    parser.add_argument("--threads", type=int, help="CPU threads of this process (default: all)")
    add_workers(parser)


def run(args: argparse.Namespace) -> int:
    """Measure each model on each image, write ``metrics.json`` and ``report.html``, and compare with the readers."""
    if args.clicks and workers_of(args):
        raise UserError("The model for clicks is measured in this process only: leave out the workers.")
    begin_long_work(args.threads)
    shipped = f"shipped={_SHIPPED_FOR_CLICKS if args.clicks else _SHIPPED}"
    models = dict(map(_parse_model, args.models or [shipped]))
    automatic = None if not args.clicks or args.automatic == "none" else Path(args.automatic)
    cases = _cases(args, [*models.values(), *([automatic] if automatic else [])])
    textures = _textures(args.properties, cases)
    measured_on = f"Measured on {len(cases)} images of {', '.join(str(folder) for folder in args.images)}" + (
        ", patients held out from training." if args.held_out else "."
    )
    if args.clicks:
        other = AutomaticModel(Predictor.from_file(automatic, model_of(automatic, crf=False))) if automatic else None
        options = {"clicks": args.clicks, "places": args.places, "measured_on": measured_on}
        evaluate_clicks(cases, models, textures, args.output, automatic=other, **options)
        return 0
    limits = LIMITS if args.froc else ()
    evaluation = Evaluation.of(models, crf=args.crf, robustness=not args.no_robustness, limits=limits)
    images = [(case.name, case.image.resolve(), case.mask.resolve(), case.patient) for case in cases]
    results, shown = collect(images, _measured(evaluation, images, args))
    summaries = {model: summarize(found, textures) for model, found in results.items()}
    if args.froc:
        for model, found in results.items():
            summaries[model]["froc"] = operating_points([case.by_limit for case in found])
    records = {model: [_record(case, textures) for case in found] for model, found in results.items()}
    write_json(
        args.output / "metrics.json",
        {"measured_on": measured_on, "crf": args.crf, "models": summaries, "cases": records},
    )
    page = render(measured_on, summaries, shown)
    write_atomically(args.output / "report.html", lambda path: path.write_text(page, encoding="utf-8"))
    logger.info("Written: %s", args.output / "report.html")
    print(reader_text({model: summary["readers"] for model, summary in summaries.items()}), end="")
    return 0


def _measured(
    evaluation: Evaluation, images: Sequence[Case], args: argparse.Namespace
) -> Iterator[tuple[Case, MeasuredCase]]:
    with folder_of_run(args.output) as work:
        yield from evaluate_cases(evaluation, images, workers_of(args), work)


def _cases(args: argparse.Namespace, models: Sequence[Path]) -> list[LabelledImage]:
    cases = find_cases(args.images, args.masks, args.output / "volumes")
    if args.held_out:
        cases = _held_out_cases(cases, models)
    if not cases:
        raise UserError("None of the images belongs to a held-out patient: remove --held-out.")
    return cases


def _textures(properties: Path | None, cases: list[LabelledImage]) -> dict[str, Texture]:
    """Return the textures by name of the case; empty without a file."""
    textures = read_textures(properties) if properties else {}
    missing = [case.name for case in cases if case.name not in textures]
    if properties and len(missing) == len(cases):
        raise UserError(f"{properties} has none of the images, for example {missing[0]}: check its names.")
    if properties and missing:
        logger.warning("%d of %d images have no texture in %s.", len(missing), len(cases), properties)
    return textures


def _parse_model(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not separator:
        raise UserError(f"--models takes NAME=FILE, not {text!r}.")
    return name, Path(path)


def _held_out_cases(cases: list[LabelledImage], models: Sequence[Path]) -> list[LabelledImage]:
    """Return the cases of held-out patients, without those that the manifest of some weights lists as trained on."""
    manifests = [manifest_of(weights) or {} for weights in models]
    trained = {patient for manifest in manifests for patient in manifest.get("trained_on", ())}
    kept = [case for case in cases if held_out(case.patient)]
    known = sorted({case.patient for case in kept} & trained)
    if known:
        logger.warning("Excluded because a model was trained on them: %s", ", ".join(known))
    return [case for case in kept if case.patient not in trained]


def _record(case: CaseResult, textures: Mapping[str, Texture]) -> dict[str, Any]:
    """Return the entry of one case in metrics.json."""
    return case.to_json() | {"texture": textures[case.name].value if case.name in textures else None}
