"""Training of the second stage of a candidate: one for all labelled patients, and one without each fold."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lib.cluster.worker_model import WorkerModel
from lib.inference import ModelDescription, Predictor, WeightsFile
from lib.inference.candidate_judge import CandidateJudge
from lib.inference.kept_outputs import KeepingPredictor
from lib.networks.weights import state_of
from lib.publishing.folds import patient_of
from lib.publishing.measurement import Elsewhere
from lib.trainers.candidate import Candidate, Part
from lib.trainers.start_weights import StartWeights, save
from lib.training.candidate_fitting import ScanLogits, scan_logits
from lib.training.candidate_samples import CandidateSamples, candidate_samples
from lib.training.candidate_tuning import recalibrated, tune_judge

logger = logging.getLogger(__name__)

Judges = dict[int | None, CandidateJudge]  # by the fold that they leave out; None: trained on all patients

NETWORK = "network"
"""The variant with the second stage in use."""

_LEARNING_RATE = 0.001


@dataclass(frozen=True)
class LabelledCandidates:
    """Candidates of a labelled scan.

    Attributes:
        patient: Its patient.
        samples: The candidates that a network marks which was not trained on the patient.
    """

    patient: str
    samples: CandidateSamples


def labelled_candidates(
    cases: Iterable[dict[str, Any]],
    predictor_of: Callable[[str], Predictor],
    rejected: Callable[[str], Sequence[Sequence[float]]],
) -> list[LabelledCandidates]:
    """Return the candidates of whole scans.

    Crops, in which nothing is judged, are left out: they would count as scans without a false finding, and the limits
    for a number of false findings per scan would be too low.

    Args:
        cases: Labelled cases.
        predictor_of: Returns the network that marks the scans of a patient, without a second stage.
        rejected: Returns a voxel of each finding that a reader rejected in an image, by its id.
    """
    found = []
    for case in cases:
        patient = patient_of(case)
        image, label = Path(case["image"]), Path(case["label"])
        voxels = rejected(case["image_id"]) if "image_id" in case else ()
        samples = candidate_samples(predictor_of(patient), image, label, rejected=voxels)
        if samples.judged:
            found.append(LabelledCandidates(patient, samples))
    return found


def tune_judges(
    starts: Mapping[int | None, CandidateJudge],
    scans: Sequence[LabelledCandidates],
    parts: Sequence[Part],
    *,
    steps: int,
    seed: int,
) -> Judges:
    """Return a judge for each training of the candidate, none of which learned or is calibrated on its fold.

    Nor is any calibrated on patients that the judge it started from was trained on.

    If one of them cannot learn, because too few scans have a lesion, there are none: otherwise what is measured on the
    folds would not be what all patients teach.

    Args:
        starts: Judge to start from, by fold.
        scans: Candidates of the labelled scans.
        parts: Trainings of the candidate.
        steps: Optimiser steps.
        seed: See `tune_judge`.
    """
    tuned, left_out = Judges(), dict[str, list[ScanLogits]]()
    for part in parts:
        logger.info("Second stage: %s", part.name)
        own = [one.samples for one in scans if one.patient in part.patients]
        start = starts[part.fold]
        tuned[part.fold] = tune_judge(start, own, steps=steps, learning_rate=_LEARNING_RATE, seed=seed)
        for one in scans:
            if one.patient not in part.patients:
                left_out.setdefault(one.patient, []).append(scan_logits(tuned[part.fold], one.samples))
    if any(tuned[part.fold] is starts[part.fold] for part in parts):
        return {}
    judges = Judges()
    for part in parts:
        usable = part.patients - starts[part.fold].trained_on
        others = [logits for patient, own in left_out.items() if patient in usable for logits in own]
        judges[part.fold] = recalibrated(tuned[part.fold], others)
    return judges


@dataclass(frozen=True)
class Variants:
    """What can be put into use of a candidate: its network, its second stage, or both.

    Attributes:
        both: New network and new second stage.
        network: New network with the second stage in use.
        second_stage: Network in use with the new second stage; None without a version in use.
    """

    both: Candidate
    network: Candidate
    second_stage: Candidate | None

    def by_name(self) -> dict[str, Candidate]:
        """Return the variants that exist, in order of preference."""
        known = {"network and second stage": self.both, NETWORK: self.network, "second stage": self.second_stage}
        return {name: one for name, one in known.items() if one}


def variants_of(candidate: Candidate, judges: Judges, start: StartWeights, folder: Path) -> Variants:
    """Return the variants of a candidate.

    Args:
        candidate: The candidate with the second stage in use.
        judges: Its second stages.
        start: The weights that the trainings started from, and those in use.
        folder: Folder for their weights.
    """
    folds = sorted(candidate.fold_weights)

    def made(name: str, state: Callable[[int | None], Mapping[str, Any]]) -> Candidate:
        files = {fold: folder / f"{name}-{'all' if fold is None else fold}.pt" for fold in (None, *folds)}
        for fold, file in files.items():
            save(dict(state(fold)), file, judges.get(fold, start.in_use.judge(fold)))
        return replace(candidate, weights=files[None], fold_weights={fold: files[fold] for fold in folds})

    def trained(fold: int | None) -> Mapping[str, Any]:
        path = candidate.weights if fold is None else candidate.fold_weights[fold]
        return state_of(path.read_bytes())

    return Variants(
        both=made("both", trained),
        network=candidate,
        second_stage=made("second-stage", start.in_use.state) if start.version else None,
    )


def candidate_predictors(
    candidate: Candidate, start: Path, model: ModelDescription, folder: Path
) -> Callable[[str], Predictor]:
    """Return a function from a patient to the predictor whose network was not trained on this patient.

    Where no training left the patient out, it is the network that the trainings started from. Its outputs are not kept,
    as these patients are not measured on afterwards.

    Args:
        candidate: The candidate.
        start: Weights that the trainings started from.
        model: The model.
        folder: Folder of kept outputs, of at most as many patients as have a fold.
    """
    without = replace(model, judge=None)
    predictors: dict[int | None, Predictor] = {}

    def of(patient: str) -> Predictor:
        fold = candidate.measured.get(patient)
        if fold not in predictors:
            if fold is None:
                predictors[fold] = Predictor(without, WeightsFile(start))
            else:
                predictors[fold] = KeepingPredictor(without, WeightsFile(candidate.fold_weights[fold]), folder)
        return predictors[fold]

    return of


def keep_outputs(
    cases: Iterable[dict[str, Any]], candidate: Candidate, model: ModelDescription, folder: Path, elsewhere: Elsewhere
) -> None:
    """Let workers run the networks of a candidate on the patients that each was not trained on.

    What they do not keep for `candidate_predictors` is computed when it is needed.

    Args:
        cases: Labelled cases.
        candidate: The candidate.
        model: The model.
        folder: Folder of kept outputs.
        elsewhere: Where to compute.
    """
    without = replace(model, judge=None)
    models = {
        fold: WorkerModel(
            partial(KeepingPredictor, without, WeightsFile(path).pinned(elsewhere.folder), folder.resolve())
        )
        for fold, path in candidate.fold_weights.items()
    }
    of_cases = ((candidate.measured.get(patient_of(case)), Path(case["image"])) for case in cases)
    tasks = [(models[fold], image) for fold, image in of_cases if fold is not None]
    elsewhere.cluster.map(_keep_output, lambda task: None, tasks)


def _keep_output(task: tuple[WorkerModel[KeepingPredictor], Path]) -> None:
    model, image = task
    predictor = model.predictor()
    predictor.run(predictor.read({"image": image}))
