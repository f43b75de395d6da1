"""Scores of a version on patients, each measured by weights that were not trained on that patient."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from lib.cluster.background import BackgroundCluster
from lib.cluster.worker_model import WorkerModel
from lib.evaluation.cases import CaseResult, evaluate_case
from lib.inference import ModelDescription, Predictor, WeightsContent, WeightsFile, WeightsSource
from lib.inference.finite import NotFiniteError
from lib.inference.kept_outputs import predictor_with
from lib.publishing.folds import patient_of
from lib.publishing.gate import PatientScores
from lib.publishing.model_store import ModelStore
from lib.publishing.shipped_patients import known_among

Measured = TypeVar("Measured")
Model = TypeVar("Model")
Cases = Sequence[dict[str, Any]]

_NOT_MEASURABLE = PatientScores(0, 0, 0, math.nan, math.nan, 0)


@dataclass(frozen=True)
class Elsewhere:
    """Where patients are measured besides in this process.

    Attributes:
        cluster: The cluster, whose workers see the files of the workspace.
        folder: Folder for weights that have no file.
    """

    cluster: BackgroundCluster
    folder: Path


@dataclass(frozen=True)
class _Task(Generic[Model]):
    """Measurement of a patient.

    Attributes:
        fold: Its fold.
        cases: Its cases.
        model: The model for a worker; None to measure in this process.
    """

    fold: int
    cases: Cases
    model: WorkerModel[Model] | None


def unseen(version: Mapping[str, Any] | None, kept: Mapping[int, Path], folds: Mapping[str, int]) -> dict[str, int]:
    """Return the folds of the patients that a version can be measured on.

    These are the patients it was not trained on, and those of each fold whose weights it has.

    Args:
        version: Manifest of the version; None for the shipped weights, which were trained on no patient of a fold.
        kept: Its weights of each fold.
        folds: Folds of the labelled patients.
    """
    seen, own = set((version or {}).get("trained_on", [])), (version or {}).get("folds", {})
    return {
        patient: fold
        for patient, fold in folds.items()
        if not known_among([patient], seen) or (fold in kept and own.get(patient) == fold)
    }


def version_weights(store: ModelStore, version: str, folds: Mapping[str, int]) -> dict[int, WeightsSource]:
    """Return the weights of a version for each fold: its own, or those of all patients.

    Args:
        store: Store of the versions.
        version: Id of the version.
        folds: Folds of the patients to measure on, from `unseen`.

    Raises:
        DamagedFileError: The weights are damaged.
    """
    kept = store.fold_weights(version)
    everyone = WeightsContent(store.read(version), version)
    return {fold: WeightsFile(kept[fold]) if fold in kept else everyone for fold in sorted(set(folds.values()))}


def measure(
    weights: Mapping[int, WeightsSource],
    folds: Mapping[str, int],
    cases: Cases,
    model: ModelDescription,
    outputs: Path | None = None,
    elsewhere: Elsewhere | None = None,
    after_each: Callable[[PatientScores], object] = lambda scores: None,
) -> dict[str, PatientScores]:
    """Measure weights on whole scans with the same predictor and options as the server.

    Args:
        weights: Weights of each fold.
        folds: Folds of the patients to measure on.
        cases: Cases with the paths ``image`` and ``label`` on one grid; those of patients without a fold are left out.
        model: The model without its weights.
        outputs: Folder that keeps the outputs of the networks, for weights that differ only in the second stage.
        elsewhere: Where to measure while it is there; the scores are the same.
        after_each: Called with the scores of each patient.

    Returns:
        Scores by patient; NaN if the output of the network is not finite.

    Raises:
        UserError: The weights are damaged or do not match the network.
    """
    make = partial(predictor_with, outputs, model)
    return measure_patients(_measure_patient, make, weights, cases, folds, elsewhere, after_each)


def measure_patients(
    score: Callable[[Cases, Model], Measured],
    make: Callable[[WeightsSource], Model],
    weights: Mapping[int, WeightsSource],
    cases: Cases,
    folds: Mapping[str, int],
    elsewhere: Elsewhere | None,
    after_each: Callable[[Measured], object] = lambda scores: None,
) -> dict[str, Measured]:
    """Return the scores of each patient that has a fold and cases, by patient.

    Args:
        score: Returns the scores of a model on the cases of a patient; called here or in a worker.
        make: Returns the model with its weights; called here or in a worker.
        weights: Weights of each fold.
        cases: Cases of all patients.
        folds: Folds of the patients to measure on.
        elsewhere: Where to measure while it is there.
        after_each: Called with the scores of each patient.

    Raises:
        UserError: The weights are damaged or do not match the network.
    """
    by_patient: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for case in cases:
        by_patient[patient_of(case)].append(case)
    predictors = {fold: make(source) for fold, source in weights.items()}
    models = {
        fold: WorkerModel(partial(make, source.pinned(elsewhere.folder))) if elsewhere else None
        for fold, source in weights.items()
    }
    patients = [patient for patient in folds if patient in by_patient]
    tasks = [_Task(folds[patient], by_patient[patient], models[folds[patient]]) for patient in patients]

    def here(task: _Task[Model]) -> Measured:
        return score(task.cases, predictors[task.fold])

    there = partial(_score_in_worker, score)
    scores = {}
    measured = elsewhere.cluster.map(there, here, tasks) if elsewhere else map(here, tasks)
    for patient, one in zip(patients, measured, strict=True):
        scores[patient] = one
        after_each(one)
    return scores


def _score_in_worker(score: Callable[[Cases, Model], Measured], task: _Task[Model]) -> Measured:
    assert task.model is not None
    return score(task.cases, task.model.predictor())


def _measure_patient(cases: Cases, predictor: Predictor) -> PatientScores:
    try:
        results = [_measure_case(case, predictor) for case in cases]
    except NotFiniteError:
        return _NOT_MEASURABLE
    lesions = [lesion for result in results for lesion in result.lesions]
    return PatientScores(
        scans=len(results),
        lesions=len(lesions),
        found=sum(lesion.hit for lesion in lesions),
        dice=float(np.mean([lesion.dice for lesion in lesions])) if lesions else 0.0,
        false_findings=float(np.mean([result.false_positives for result in results])),
        marked_voxels=sum(result.counts.true_positive + result.counts.false_positive for result in results),
    )


def _measure_case(case: dict[str, Any], predictor: Predictor) -> CaseResult:
    name = str(case.get("image_id", case["image"]))
    image, label = Path(case["image"]), Path(case["label"])
    result, _ = evaluate_case(name, image, label, patient_of(case), predictor, False)
    return result
