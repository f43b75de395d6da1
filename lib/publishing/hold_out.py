"""The hold-out: patients that no model is trained on, for comparing a candidate with the published model."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from lib.publishing.shipped_patients import ShippedPatients
from lib.storage.state_file import StateFile


def share_of(name: str) -> float:
    """Return a deterministic hash of a name in [0, 1), in steps of 0.01, uniform over names."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100 / 100


def patient_of(case: dict[str, Any]) -> str:
    """Return the patient of a labelled case; an image without PatientID counts as a separate patient."""
    return case.get("patient_id") or case.get("image_id") or case["image"]


class HoldOut:
    """Hold-out chosen by a hash of the PatientID, so that it does not change when more patients are labelled.

    A held-out patient is never released. The list is kept in a file, and each version records the patients it was
    compared on; if the file is damaged or missing, the hold-out is restored from these records and the hash. With fewer
    than ``min_patients`` labelled patients there is no hold-out; with more it has at least one patient: if the hash
    selects none, the one with the lowest hash among those never trained on. Patients that the shipped weights were
    trained on are never in the hold-out, since every version may descend from these weights.

    Args:
        path: File of the list.
        fraction: Fraction of the patients, in [0, 1); 0 disables the hold-out.
        min_patients: Smallest number of labelled patients for a hold-out.
        shipped: Patients that the shipped weights were trained on; None if there are no shipped weights.
    """

    def __init__(self, path: Path, fraction: float, min_patients: int, shipped: ShippedPatients | None = None) -> None:
        self._file = StateFile(path, _patients, "Patients that kept model versions were compared on stay held out.")
        self._fraction = fraction
        self._min_patients = min_patients
        self._shipped = shipped

    def patients(
        self, labelled: Collection[str], trained_on: Collection[str] = (), held_before: Collection[str] = ()
    ) -> set[str]:
        """Return the labelled patients that are held out, and add new ones to the file.

        Args:
            labelled: PatientID of every labelled case.
            trained_on: Patients that a model was trained on.
            held_before: Patients that a version was compared on; they remain in the hold-out.

        Raises:
            DamagedFileError: The list of the patients that the shipped weights were trained on is damaged.
        """
        everyone = set(labelled)
        eligible = everyone - self.shipped_patients()
        noted = self._file.read() or set()
        held = (noted | set(held_before)) & eligible
        if self._fraction <= 0 or len(everyone) < self._min_patients or not eligible:
            return held
        held |= {patient for patient in eligible - set(trained_on) if share_of(patient) < self._fraction}
        if not held:
            fresh = eligible - set(trained_on) or eligible
            held = {min(fresh, key=lambda patient: (share_of(patient), patient))}
        if held == everyone:
            held.remove(max(held, key=lambda patient: (share_of(patient), patient)))
        if held - noted:
            self._file.write({"patients": sorted(noted | set(held_before) | held)})
        return held

    def shipped_patients(self) -> set[str]:
        """Return the patients that the shipped weights were trained on.

        Raises:
            DamagedFileError: The list is damaged.
        """
        return self._shipped.read() if self._shipped else set()


def _patients(content: Any) -> set[str]:
    """Validate the content of the file."""
    patients = content["patients"]
    if not isinstance(patients, list) or not all(isinstance(patient, str) for patient in patients):
        raise ValueError("it has no list of patients")
    return set(patients)
