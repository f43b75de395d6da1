"""The patients that no model is ever trained on: by them a candidate and the published model are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from lib.storage.state_file import StateFile


def share_of(name: str) -> float:
    """A number in [0, 1), in hundredths, that belongs to a name for good and is evenly spread over names."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100 / 100


def patient_of(case: dict[str, Any]) -> str:
    """The patient of a labelled case; one without PatientID stands for itself."""
    return case.get("patient_id") or case.get("image_id") or case["image"]


class HoldOut:
    """Patients held out, by a hash of their PatientID: the same ones however many are labelled later.

    Who is held out once stays so; the list is kept in a file, and each version notes whom it was compared on: where the
    file is damaged or gone, that and the hash tell. While few patients are labelled, none is held out; then at least
    one, if need be one by choice: of those never trained on, the one with the lowest hash.

    Args:
        path: File of the list.
        fraction: Share of the patients, 0 to less than 1; 0 holds out nobody.
        min_patients: From how many labelled patients on there is a hold-out.
    """

    def __init__(self, path: Path, fraction: float, min_patients: int) -> None:
        self._file = StateFile(path, _patients, "Whom the kept model versions were compared on stays held out.")
        self._fraction = fraction
        self._min_patients = min_patients

    def patients(
        self, labelled: Collection[str], trained_on: Collection[str] = (), held_before: Collection[str] = ()
    ) -> set[str]:
        """Those of the labelled patients that are held out; new ones are noted in the file.

        Args:
            labelled: PatientID of every labelled case.
            trained_on: Patients that a model was trained on before.
            held_before: Patients that a version was compared on; they stay held out.
        """
        everyone = set(labelled)
        noted = self._file.read() or set()
        held = (noted | set(held_before)) & everyone
        if self._fraction <= 0 or len(everyone) < self._min_patients:
            return held
        held |= {patient for patient in everyone - set(trained_on) if share_of(patient) < self._fraction}
        if not held:
            fresh = everyone - set(trained_on) or everyone
            held = {min(fresh, key=lambda patient: (share_of(patient), patient))}
        if held == everyone:
            held.remove(max(held, key=lambda patient: (share_of(patient), patient)))
        if held - noted:
            self._file.write({"patients": sorted(noted | set(held_before) | held)})
        return held


def _patients(content: Any) -> set[str]:
    """Check what the file says."""
    patients = content["patients"]
    if not isinstance(patients, list) or not all(isinstance(patient, str) for patient in patients):
        raise ValueError("it has no list of patients")
    return set(patients)
