"""The patients that no model is ever trained on: by them a candidate and the published model are compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

from lib.atomic import write_json


def share_of(name: str) -> float:
    """A number in [0, 1), in hundredths, that belongs to a name for good and is evenly spread over names."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100 / 100


class HoldOut:
    """Patients held out, by a hash of their PatientID: the same ones however many are labelled later.

    Who is held out once stays so; the list is kept in a file. While few patients are labelled, none is; then at
    least one, if need be one by choice: of those never trained on, the one with the lowest hash.

    Args:
        path: File of the list.
        fraction: Share of the patients, 0 to less than 1; 0 holds out nobody.
        min_patients: From how many labelled patients on there is a hold-out.
    """

    def __init__(self, path: Path, fraction: float, min_patients: int) -> None:
        self._path = path
        self._fraction = fraction
        self._min_patients = min_patients

    def patients(self, labelled: Collection[str], trained_on: Collection[str] = ()) -> set[str]:
        """Those of the labelled patients that are held out; new ones are noted in the file.

        Args:
            labelled: PatientID of every labelled case.
            trained_on: Patients that a model was trained on before.
        """
        everyone = set(labelled)
        held = self._noted() & everyone
        if self._fraction <= 0 or len(everyone) < self._min_patients:
            return held
        held |= {patient for patient in everyone - set(trained_on) if share_of(patient) < self._fraction}
        if not held:
            fresh = everyone - set(trained_on) or everyone
            held = {min(fresh, key=lambda patient: (share_of(patient), patient))}
        if held == everyone:
            held.remove(max(held, key=lambda patient: (share_of(patient), patient)))
        if held - self._noted():
            write_json(self._path, {"patients": sorted(self._noted() | held)})
        return held

    def _noted(self) -> set[str]:
        try:
            return set(json.loads(self._path.read_text(encoding="utf-8"))["patients"])
        except FileNotFoundError:
            return set()
