"""Agreement by reader and by each two readers, and the change between two conditions of reading."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from lib.evaluation.bootstrap import mean_and_interval, patient_resamples, without_width_of_zero
from lib.evaluation.lesion_agreement import LesionAgreement

Row = dict[str, Any]
PatientSeconds = tuple[str, float]
"""A patient, and the active time of a reader on one of the patient's cases in seconds."""

PAIR_MEASURES = ("dice", "surface_mm", "hausdorff_95_mm")


def summarise_readers(lesions: Sequence[LesionAgreement]) -> list[Row]:
    """Return a row for each reader.

    Returns:
        Rows with ``reader``; ``lesions``, the number of lesions in the reader's cases that anybody marked;
        ``patients``; ``detection``, the share of them that the reader marked; ``alone``, the number that nobody else
        marked; and ``dice``, the mean over the other readers who marked a lesion, then over the lesions.
    """
    rows = []
    for reader in _readers(lesions):
        read = [one for one in lesions if reader in one.readers]
        marked = [reader in one.volumes_mm3 for one in read]
        dice = [_dice_with_others(one, reader) for one in read]
        rows.append(
            {
                "reader": reader,
                "lesions": len(read),
                "patients": len({one.patient for one in read}),
                "detection": _mean(marked, read),
                "alone": sum(one.volumes_mm3.keys() == {reader} for one in read),
                "dice": _mean(dice, read),
            }
        )
    return rows


def summarise_pairs(lesions: Sequence[LesionAgreement]) -> list[Row]:
    """Return a row for each two readers, over the lesions that both marked: ``dice`` and distances of the surfaces."""
    rows = []
    for two in combinations(_readers(lesions), 2):
        of_both = [(one, pair) for one in lesions for pair in one.pairs if {pair.first, pair.second} == {*two}]
        if of_both:
            both = [one for one, _ in of_both]
            measured = {name: _mean([getattr(pair, name) for _, pair in of_both], both) for name in PAIR_MEASURES}
            patients = len({one.patient for one in both})
            rows.append({"first": two[0], "second": two[1], "lesions": len(both), "patients": patients, **measured})
    return rows


def compare_conditions(
    conditions: Mapping[str, Sequence[LesionAgreement]], seconds: Mapping[str, Sequence[PatientSeconds]]
) -> list[Row]:
    """Return how much the second of two conditions of reading changes, paired by patient; none without two.

    Each patient counts once, with the mean in each condition, so that what the readings of a patient have in common is
    no part of the difference.

    Args:
        conditions: Lesions by condition.
        seconds: Active times by condition.

    Returns:
        Rows with ``measure``, ``patients`` who have it in both, and ``mean`` and ``interval_95`` of the difference.
    """
    if len(conditions) != 2:
        return []
    before, after = conditions
    measures: dict[str, Callable[[LesionAgreement], float | None]] = {
        "detection": lambda one: one.detection,
        **{name: _of_pairs(name) for name in PAIR_MEASURES},
    }
    found: list[tuple[str, list[PatientSeconds], list[PatientSeconds]]] = [
        (name, _values(conditions[before], of), _values(conditions[after], of)) for name, of in measures.items()
    ]
    found.append(("active_seconds", [*seconds.get(before, ())], [*seconds.get(after, ())]))
    return [row for name, first, second in found if (row := _difference(name, first, second))]


def mean_seconds(seconds: Sequence[PatientSeconds]) -> Row:
    """Return number of ``readings``, ``median``, and ``mean`` with ``interval_95`` of active times."""
    values, patients = np.array([one for _, one in seconds], float), np.array([patient for patient, _ in seconds])
    every = np.ones(len(values), bool)
    measured = mean_and_interval(values, every, patients, patient_resamples([*patients])) if seconds else {}
    return {"readings": len(values), "median": float(np.median(values)) if seconds else None, **measured}


def _readers(lesions: Sequence[LesionAgreement]) -> list[str]:
    return sorted({reader for one in lesions for reader in one.readers})


def _of_pairs(name: str) -> Callable[[LesionAgreement], float | None]:
    return lambda one: one.mean_of_pairs(name)


def _dice_with_others(lesion: LesionAgreement, reader: str) -> float | None:
    own = [pair.dice for pair in lesion.pairs if reader in (pair.first, pair.second)]
    return float(np.mean(own)) if own else None


def _mean(values: Sequence[float | None], lesions: Sequence[LesionAgreement]) -> Row:
    patients = [one.patient for one in lesions]
    every = np.ones(len(values), bool)
    measured = mean_and_interval(np.array(values, float), every, np.array(patients), patient_resamples(patients))
    return without_width_of_zero(measured)


def _values(lesions: Sequence[LesionAgreement], of: Callable[[LesionAgreement], float | None]) -> list[PatientSeconds]:
    return [(one.patient, value) for one in lesions if (value := of(one)) is not None]


def _difference(name: str, first: Sequence[PatientSeconds], second: Sequence[PatientSeconds]) -> Row | None:
    before, after = (_by_patient(one) for one in (first, second))
    patients = sorted(before.keys() & after.keys())
    if not patients:
        return None
    values = np.array([after[one] - before[one] for one in patients])
    every = np.ones(len(values), bool)
    measured = mean_and_interval(values, every, np.array(patients), patient_resamples(patients))
    return {"measure": name, "patients": len(patients), **without_width_of_zero(measured)}


def _by_patient(values: Sequence[PatientSeconds]) -> dict[str, float]:
    collected: dict[str, list[float]] = defaultdict(list)
    for patient, value in values:
        collected[patient].append(value)
    return {patient: float(np.mean(of)) for patient, of in collected.items()}
