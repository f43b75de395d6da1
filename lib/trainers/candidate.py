"""The trainings of a candidate: one on all labelled patients, and one without each fold, to measure it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path


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
