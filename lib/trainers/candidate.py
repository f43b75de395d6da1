"""The trainings of a candidate: one on all labelled patients, and one without each fold, to measure it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from lib.publishing.folds import Folds
from lib.publishing.shipped_patients import known_among
from lib.trainers.start_weights import StartWeights, save


@dataclass(frozen=True)
class Part:
    """One of the trainings of a candidate.

    Attributes:
        name: Name of its folder.
        fold: The fold that it leaves out; None for the training on all patients.
        patients: Patients that it is trained on.
    """

    name: str
    fold: int | None
    patients: frozenset[str]


def parts_of(patients: Collection[str], folds: Mapping[str, int]) -> list[Part]:
    """Return the trainings, at last the one on all patients.

    A fold that has all patients is not left out, since nothing would remain to train on.

    Args:
        patients: All labelled patients.
        folds: Folds of the patients that the weights to start from have not seen.
    """
    parts = []
    for fold in sorted(set(folds.values())):
        remaining = frozenset(patient for patient in patients if folds.get(patient) != fold)
        if remaining:
            parts.append(Part(f"fold-{fold}", fold, remaining))
    return [*parts, Part("all", None, frozenset(patients))]


@dataclass(frozen=True)
class Candidate:
    """A newly trained version that is not kept yet.

    Attributes:
        weights: Its weights.
        fold_weights: Its weights without each fold.
        folds: Folds of the patients that neither these weights nor those they were trained from have seen.
        measured: Those of these patients that were left out of a training.
    """

    weights: Path
    fold_weights: dict[int, Path]
    folds: dict[str, int]
    measured: dict[str, int]


def candidate_of(
    weights: Mapping[int | None, Path], start: StartWeights, folds: Mapping[str, int], folder: Path
) -> Candidate:
    """Return the candidate that the trainings of all parts made.

    Args:
        weights: Weights of each part, by its fold.
        start: The weights that the trainings started from.
        folds: Folds of the patients that these have not seen.
        folder: Folder of the run, for further weights.
    """
    fold_weights = {fold: path for fold, path in weights.items() if fold is not None}
    measured = {patient: fold for patient, fold in folds.items() if fold in fold_weights}
    if start.version:  # the patients of a fold that could not be left out are unseen by the weights to start from
        others = set(folds.values()) - fold_weights.keys()
        fold_weights |= {
            fold: save(start.origin.state(fold), folder / f"fold-{fold}.pt", start.in_use.judge(fold))
            for fold in others
        }
    return Candidate(weights[None], fold_weights, dict(folds), measured)


def why_not_measured(patients: Collection[str], folds: Folds, count: int) -> str:
    """Return why no patient could be left out of a training, as a part of a sentence.

    Args:
        patients: All labelled patients.
        folds: Folds of the model.
        count: Number of folds.
    """
    if not count:
        return "folds is 0"
    if set(patients) == known_among(patients, folds.shipped_patients()):
        return "the shipped weights were trained on every labelled patient"
    if len(patients) == 1:
        return "one labelled patient cannot be trained on and left out; label a second one"
    return "the model in use was trained on every labelled patient"
