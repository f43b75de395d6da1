"""Folds of patients: those of a fold are left out of one training, so that models can be compared on them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.publishing.shipped_patients import ShippedPatients, known_among
from lib.storage.state_file import StateFile

_MOST_JUDGES = 30  # more would take longer to measure than to train


def share_of(name: str) -> float:
    """Return a deterministic hash of a name in [0, 1), in steps of 0.01, uniform over names."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100 / 100


def patient_of(case: dict[str, Any]) -> str:
    """Return the patient of a labelled case; an image without PatientID counts as a separate patient."""
    return case.get("patient_id") or case.get("image_id") or case["image"]


class Folds:
    """Folds that patients are assigned to when they are first labelled, and stay in.

    Every training is repeated without each fold, from weights that have seen none of its patients; the weights without
    a fold are kept beside those of all patients, to be compared with later versions. The assignment is in a file, and
    each version records it; if the file is damaged or missing, it is restored from these records. A new patient joins
    the smallest fold. Patients that the shipped weights were trained on are in no fold, since trainings start from
    these weights; nor are patients that a version of an older release was trained on.

    Args:
        path: File of the assignment.
        shipped: Patients that the shipped weights were trained on; None if there are no shipped weights.
    """

    def __init__(self, path: Path, shipped: ShippedPatients | None = None) -> None:
        self._file = StateFile(path, _assignment, "The assignment is restored from the kept model versions.")
        self._shipped = shipped

    def assign(
        self, labelled: Collection[str], count: int, versions: Sequence[Mapping[str, Any]] = ()
    ) -> dict[str, int]:
        """Return the fold of each labelled patient that has one, and write those of new patients to the file.

        Args:
            labelled: PatientID of every labelled case.
            count: Number of folds that new patients are assigned to; 0 leaves nobody out.
            versions: Manifests of the kept versions.

        Raises:
            DamagedFileError: The list of the patients that the shipped weights were trained on is damaged.
        """
        if count <= 0:
            return {}
        noted = self._file.read() or {}
        known = {**{patient: fold for one in versions for patient, fold in one.get("folds", {}).items()}, **noted}
        trained_on = self.shipped_patients() | _trained_on_by_older_releases(versions)
        excluded = known_among({*labelled, *known}, trained_on)
        known = {patient: fold for patient, fold in known.items() if patient not in excluded}
        for patient in sorted(set(labelled) - known.keys() - excluded, key=lambda name: (share_of(name), name)):
            if len(known) < _MOST_JUDGES:
                sizes = Counter(known.values())
                known[patient] = min(range(count), key=lambda fold: (sizes[fold], fold))
        if known != noted:
            self._file.write({"folds": known})
        return {patient: known[patient] for patient in sorted(labelled) if patient in known}

    def shipped_patients(self) -> set[str]:
        """Return the patients that the shipped weights were trained on.

        Raises:
            DamagedFileError: The list is damaged.
        """
        return self._shipped.read() if self._shipped else set()


def _trained_on_by_older_releases(versions: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the patients of versions without folds, which record only their own training and not those before it."""
    return {patient for version in versions if "folds" not in version for patient in version.get("trained_on", [])}


def _assignment(content: Any) -> dict[str, int]:
    """Validate the content of the file."""
    folds = content["folds"]
    if not isinstance(folds, dict) or not all(type(fold) is int and fold >= 0 for fold in folds.values()):
        raise ValueError("it has no fold for each patient")
    return folds
