"""The patients that the shipped weights were trained on, from the manifest of their training."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from lib.errors import in_one_line
from lib.storage.integrity import Damage, DamagedFileError
from lib.storage.state_file import UNREADABLE


def known_among(patients: Iterable[str], trained_on: Collection[str]) -> set[str]:
    """Return the patients that are in a list of patients trained on.

    An image file is a patient named by its path; one of the same file name counts as the same patient, because offline
    training knows only the file name, and files are moved.
    """
    return {patient for patient in patients if patient in trained_on or PurePosixPath(patient).name in trained_on}


class ShippedPatients:
    """The list ``trained_on`` of the manifest beside the shipped weights, ``<name>.json``.

    Weights without a manifest, such as a user's own, have no list. A damaged list is an error, because comparing models
    on these patients would favour those that saw them.

    Args:
        weights: The shipped weights.
    """

    def __init__(self, weights: Path) -> None:
        self.path = weights.with_suffix(".json")

    def read(self) -> set[str]:
        """Return the PatientIDs, or for images without one the names they were trained under.

        Raises:
            DamagedFileError: The manifest is damaged.
        """
        if damage := self.damage():
            raise DamagedFileError(damage)
        return self._load() if self.path.exists() else set()

    def damage(self) -> Damage | None:
        """Return the damage to the manifest, or None if it is intact or missing."""
        try:
            if self.path.exists():
                self._load()
        except UNREADABLE as error:
            problem = (
                f"{self.path} is damaged ({in_one_line(error)}), so it is unknown which patients the shipped weights "
                "were trained on. No model is trained or compared until it is restored from the release."
            )
            return Damage("model version", self.path, problem)
        return None

    def _load(self) -> set[str]:
        patients: Any = json.loads(self.path.read_text(encoding="utf-8"))["trained_on"]
        if not isinstance(patients, list) or not all(isinstance(patient, str) for patient in patients):
            raise ValueError("trained_on is no list of patients")
        return set(patients)
