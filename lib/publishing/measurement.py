"""Scores of a version on patients, each measured by weights that were not trained on that patient."""

from __future__ import annotations

import math
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.cluster.background import BackgroundCluster
from lib.evaluation.cases import CaseResult, evaluate_case
from lib.inference import ModelDescription, Predictor, WeightsContent, WeightsFile, WeightsSource
from lib.inference.finite import NotFiniteError
from lib.inference.kept_outputs import predictor_with
from lib.inference.worker_model import WorkerModel
from lib.publishing.folds import patient_of
from lib.publishing.gate import PatientScores
from lib.publishing.model_store import ModelStore
from lib.publishing.shipped_patients import known_among

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
class _Task:
    """Measurement of a patient.

    Attributes:
        fold: Its fold.
        cases: Its cases.
        model: The model for a worker.
    """

    fold: int
    cases: Sequence[dict[str, Any]]
    model: WorkerModel


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
    cases: Sequence[dict[str, Any]],
    model: ModelDescription,
    outputs: Path | None = None,
    elsewhere: Elsewhere | None = None,
) -> dict[str, PatientScores]:
    """Measure weights on whole scans with the same predictor and options as the server.

    Args:
        weights: Weights of each fold.
        folds: Folds of the patients to measure on.
        cases: Cases with the paths ``image`` and ``label`` on one grid; those of patients without a fold are left out.
        model: The model without its weights.
        outputs: Folder that keeps the outputs of the networks, for weights that differ only in the second stage.
        elsewhere: Where to measure while it is there; the scores are the same.

    Returns:
        Scores by patient; NaN if the output of the network is not finite.

    Raises:
        UserError: The weights are damaged or do not match the network.
    """
    predictors = {fold: predictor_with(model, source, outputs) for fold, source in weights.items()}
    patients = patients_to_measure(cases, folds)
    if elsewhere is None:
        return {patient: _measure_patient(of_patient, predictors[fold]) for patient, fold, of_patient in patients}
    models = {
        fold: WorkerModel(uuid.uuid4().hex, source.pinned(elsewhere.folder), model, outputs)
        for fold, source in weights.items()
    }
    scores = elsewhere.cluster.map(
        _measure_on_worker,
        lambda task: _measure_patient(task.cases, predictors[task.fold]),
        [_Task(fold, of_patient, models[fold]) for _, fold, of_patient in patients],
    )
    return {patient: one for (patient, _, _), one in zip(patients, scores, strict=True)}


def patients_to_measure(
    cases: Sequence[dict[str, Any]], folds: Mapping[str, int]
) -> list[tuple[str, int, list[dict[str, Any]]]]:
    """Return the patients that have a fold and cases: name, fold and cases of each.

    Args:
        cases: Cases of all patients.
        folds: Folds of the patients to measure on.
    """
    by_patient: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for case in cases:
        by_patient[patient_of(case)].append(case)
    return [(patient, fold, by_patient[patient]) for patient, fold in folds.items() if patient in by_patient]


def _measure_on_worker(task: _Task) -> PatientScores:
    return _measure_patient(task.cases, task.model.predictor())


def _measure_patient(cases: Sequence[dict[str, Any]], predictor: Predictor) -> PatientScores:
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
