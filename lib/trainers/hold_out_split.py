"""Labelled cases divided into those to train on and those of the held-out patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lib.publishing.hold_out import HoldOut, patient_of

Cases = list[dict[str, Any]]


def split(cases: Cases, hold_out: HoldOut, manifests: Sequence[dict[str, Any]]) -> tuple[Cases, Cases]:
    """Return the cases to train on, and those of the held-out patients.

    Args:
        cases: All labelled cases.
        hold_out: Chooses the patients.
        manifests: Manifests of all versions of the model.
    """
    trained_on = {patient for manifest in manifests for patient in manifest.get("trained_on", [])}
    compared_on = {patient for manifest in manifests for patient in manifest.get("held_out", [])}
    held = hold_out.patients({patient_of(case) for case in cases}, trained_on, compared_on)
    return (
        [case for case in cases if patient_of(case) not in held],
        [case for case in cases if patient_of(case) in held],
    )


def why_none_held_out(cases: Cases, hold_out: HoldOut, *, val_split: float, min_patients: int) -> str:
    """Return why no patient of some cases is held out, as a part of a sentence.

    Args:
        cases: All labelled cases.
        hold_out: Chooses the patients.
        val_split: Fraction of the patients to hold out.
        min_patients: Smallest number of labelled patients for a hold-out.
    """
    if val_split <= 0:
        return "val_split is 0, so no patient is held out"
    if {patient_of(case) for case in cases} <= hold_out.shipped_patients():
        return "the shipped weights were trained on every labelled patient, so none is held out"
    return f"fewer than {min_patients} patients are labelled, so none is held out"
