"""``python main.py simulate --whole-scans``: Dice and false findings on patients left out, after the first labels."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from lib.errors import UserError
from lib.evaluation.cases import evaluate_case
from lib.evaluation.summary import summarize
from lib.inference import ModelDescription, Predictor
from lib.inference.candidate_judge import CandidateJudge
from lib.settings import load_info
from lib.simulation.whole_scans import Replay, Step, means, steps_of, table, write_plot
from lib.storage.atomic import write_atomically, write_json
from lib.storage.integrity import sha256_of
from lib.training.data_split import held_out
from lib.training.recipe_candidates import left_out_classifiers
from lib.training.run_manifest import manifest_of
from lib.training.scans import LabelledImage, find_cases

logger = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    """Replay the first labels, and write ``table.md`` and ``curve.png``.

    Each training has a file of its result, so that a stopped run resumes.
    With crops of another site, replay rounds of training instead, and write what is lost there, ``rounds.md``.

    Raises:
        UserError: Fewer than two patients are left, --labels leaves nobody to measure, or the folder has results of
            other weights or settings.
    """
    info = load_info()
    model = ModelDescription.from_info(info, args.weights.parent)
    cases = _unseen(find_cases(args.images, args.masks, args.output / "volumes"), args.weights)
    classifiers = _classifiers(args.second_stages, cases)
    judges = {patient: CandidateJudge.from_file(file) for patient, file in classifiers.items()}
    replay = Replay(cases, args.weights, info=info, model=model, judges=judges, folder=args.output / "workspace")
    if args.elsewhere_images:
        return _rounds(replay, ModelDescription.from_info(info), args)
    settings = {
        "weights": sha256_of(args.weights),
        "second_stage": model.judge is not None,
        "second_stages": {patient: sha256_of(file) for patient, file in classifiers.items()},
        "train": info["config"]["train"],
        "infer": info["config"]["infer"],
        "preprocessing": info["preprocessing"],
        "publish": info["publish"],
    }
    patients = sorted(replay.patients)
    steps = list(steps_of(patients, args.labels))
    if min(args.labels) < 1 or not steps:
        raise UserError(
            "--labels must be at least 1, and smaller than the number of patients unknown to --weights, "
            f"{len(patients)}."
        )
    done = _Results(args.output / "runs", settings)
    before = {patient: done.get(f"{patient}-0", partial(replay.before, patient)) for patient in patients}
    after: dict[Step, Any] = {}
    for step in steps:
        after[step] = done.get(step.name, partial(replay.after, step))
        old, new = (one["scores"]["dice"] for one in (before[step.patient], after[step]))
        logger.info("%s: Dice %.3f → %.3f, %s", step.name, old, new, after[step]["outcome"])
    text = table(before, after) + "\n"
    write_atomically(args.output / "table.md", lambda part: part.write_text(text, encoding="utf-8"))
    write_plot(means(before, after), args.output / "curve.png")
    print(text)
    return 0


def _rounds(replay: Replay, model: ModelDescription, args: argparse.Namespace) -> int:
    """Measure hold-out crops of another site before and after each round.

    Args:
        replay: The trainings.
        model: The model without a second stage, which judges nothing in crops.
        args: Options of the command.

    Raises:
        UserError: No crop is of a hold-out patient that is trained on neither by the weights nor in the rounds.
    """
    found = find_cases(args.elsewhere_images, args.elsewhere_masks, args.output / "volumes")
    seen = replay.patients | set((manifest_of(args.weights) or {}).get("trained_on", []))
    crops = [case[:4] for case in found if held_out(case.patient) and case.patient not in seen]
    if not crops:
        raise UserError(
            "None of the patients of --elsewhere-images is held out (15 in 100 are, by their name) and unknown to "
            "--weights and --images. Give crops of other patients."
        )

    def row(number: int, labelled: list[str], weights: Path) -> str:
        predictor = Predictor.from_file(weights, model)
        summary = summarize([evaluate_case(*case, predictor, False)[0] for case in crops])
        logger.info("Round %d: Dice %.3f", number, summary["dice"])
        return f"| {number} | {len(labelled)} | {summary['dice']:.4f} | {summary['lesion_recall']:.3f} |"

    rounds = chain([([], args.weights)], replay.rounds(args.rounds))
    rows = [row(number, *one) for number, one in enumerate(rounds)]
    head = f"| round | labelled | Dice of {len(crops)} crops | lesions found |"
    text = "\n".join([head, "|---|---|---|---|", *rows, ""])
    write_atomically(args.output / "rounds.md", lambda part: part.write_text(text, encoding="utf-8"))
    print(text)
    return 0


def _unseen(cases: list[LabelledImage], weights: Path) -> list[LabelledImage]:
    """Return the cases of patients that the weights were not trained on."""
    seen = set((manifest_of(weights) or {}).get("trained_on", []))
    unseen = [case for case in cases if case.patient not in seen]
    if len({case.patient for case in unseen}) < 2:
        raise UserError(
            f"{weights} was trained on all but {len({case.patient for case in unseen})} of these patients, so that no "
            "retraining can be measured. Give scans of other patients, or --weights of a training that left some out."
        )
    return unseen


def _classifiers(folder: Path | None, cases: list[LabelledImage]) -> dict[str, Path]:
    """Return the second stage that left each patient out.

    Raises:
        UserError: A patient was left out of none of them.
    """
    if folder is None:
        return {}
    files, patients = left_out_classifiers(folder), {case.patient for case in cases}
    if missing := sorted(patients - files.keys()):
        raise UserError(f"No second stage in {folder} left out {', '.join(missing)}. Give only scans of its folds.")
    return {patient: files[patient] for patient in sorted(patients)}


class _Results:
    """Results in a folder, which are computed only once.

    Args:
        folder: The folder.
        settings: What a result depends on apart from its name.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._folder = folder
        self._settings = json.loads(json.dumps(settings))

    def get(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return a result, after computing it if there is none yet.

        Raises:
            UserError: There is one of other weights or settings.
        """
        path = self._folder / f"{name}.json"
        if not path.exists():
            write_json(path, {"settings": self._settings, "result": compute()})
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["settings"] != self._settings:
            raise UserError(f"{path} is of other weights or settings. Give another --output, or delete it.")
        return found["result"]
