"""Agreement of the readers over all lesions, by size and texture, with intervals over patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from lib.evaluation.bland_altman import bland_altman
from lib.evaluation.bootstrap import (
    MIN_PATIENTS,
    interval_95,
    mean_and_interval,
    patient_resamples,
    without_width_of_zero,
)
from lib.evaluation.fleiss_kappa import RatingCounts
from lib.evaluation.lesion_agreement import LesionAgreement
from lib.evaluation.lesion_classes import lesion_classes
from lib.evaluation.reader_agreement import PAIR_MEASURES


def summarise_agreement(lesions: Sequence[LesionAgreement]) -> list[dict[str, Any]]:
    """Return a row for all lesions and for each size and texture that occurs.

    Returns:
        Rows with ``class``, ``lesions``, ``patients``, ``marked_by`` (number of lesions by the number of readers who
        marked them), and with ``mean`` and ``interval_95`` of ``detection`` (share of the readers who marked a
        lesion), of ``dice``, ``surface_mm`` and ``hausdorff_95_mm`` (means over the pairs of readers who both marked
        a lesion, then over the lesions), and of ``kappa`` (Fleiss' kappa over the voxels of the bounding boxes).
    """
    patients = np.array([one.patient for one in lesions])
    resamples = patient_resamples([one.patient for one in lesions]) if lesions else np.zeros((0, 0), int)
    values = {name: np.array([one.mean_of_pairs(name) for one in lesions], float) for name in PAIR_MEASURES}
    values["detection"] = np.array([one.detection for one in lesions], float)
    rows = []
    for title, inside in lesion_classes([one.diameter_mm for one in lesions], [one.texture for one in lesions]):
        if inside.any():
            chosen = [one for one, belongs in zip(lesions, inside, strict=True) if belongs]
            row = {"class": title, "lesions": len(chosen), "patients": len({one.patient for one in chosen})}
            measured = {
                name: without_width_of_zero(mean_and_interval(of, inside, patients, resamples))
                for name, of in values.items()
            }
            kappa = _kappa(chosen, resamples[:, inside])
            rows.append(row | {"marked_by": _marked_by(chosen)} | measured | {"kappa": kappa})
    return rows


def compare_volumes(lesions: Sequence[LesionAgreement]) -> list[dict[str, Any]]:
    """Return the Bland-Altman analysis of each two readers who both marked three lesions or more."""
    readers = sorted({reader for one in lesions for reader in one.readers})
    rows = []
    for number, first in enumerate(readers):
        for second in readers[number + 1 :]:
            both = [one for one in lesions if {first, second} <= one.volumes_mm3.keys()]
            ones, others = ([one.volumes_mm3[reader] for one in both] for reader in (first, second))
            compared = bland_altman(ones, others, [one.patient for one in both])
            if compared:
                rows.append({"first": first, "second": second, **asdict(compared)})
    return rows


def _marked_by(lesions: Sequence[LesionAgreement]) -> dict[str, int]:
    """Return the number of lesions by how many of their readers marked them: ``{"3 of 4": 2}``."""
    counted: dict[str, int] = {}
    for one in sorted(lesions, key=lambda lesion: (len(lesion.readers), len(lesion.volumes_mm3))):
        name = f"{len(one.volumes_mm3)} of {len(one.readers)}"
        counted[name] = counted.get(name, 0) + 1
    return counted


def _kappa(lesions: Sequence[LesionAgreement], resamples: np.ndarray) -> dict[str, Any]:
    counts = [one.voxels for one in lesions]
    value = sum(counts[1:], counts[0]).kappa
    if len({one.patient for one in lesions}) < MIN_PATIENTS:
        return {"mean": value, "interval_95": None}
    table = np.array([(one.subjects, one.agreement, *one.ratings) for one in counts])
    drawn = [RatingCounts(int(row[0]), float(row[1]), tuple(row[2:].astype(int))).kappa for row in resamples @ table]
    return {"mean": value, "interval_95": interval_95([one for one in drawn if one is not None])}
