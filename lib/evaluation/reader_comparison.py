"""A model beside the readers of the same images: all, by size and by texture, with intervals."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np

from lib.evaluation.bootstrap import mean_and_interval, patient_resamples
from lib.evaluation.lesion_classes import lesion_classes
from lib.evaluation.readers import ReaderAgreement
from lib.evaluation.textures import Texture

_DIFFERENCES = ("difference", "difference_with_others")
_MEASURES = ("model", "reader", "model_with_others", "pairs", *_DIFFERENCES)


class Verdict(Enum):
    """Whether a model agrees with the consensus better than a reader does, by the interval of the difference."""

    ABOVE = "above the readers"
    BELOW = "below the readers"
    UNDECIDED = "not told apart"
    TOO_FEW = "too few patients"


def compare_with_readers(
    agreements: Sequence[ReaderAgreement], patients: Sequence[str], textures: Sequence[Texture | None]
) -> list[dict[str, Any]]:
    """Return a row for all images and for each size and texture that occurs.

    Args:
        agreements: Of one model, for each image of two or more readers.
        patients: Patient of each image.
        textures: Texture of the lesion of each image, None if it is not known.

    Returns:
        Rows with ``class``, ``images``, ``images_of_three_readers`` and ``patients``, and by name of the measure
        (attributes of :class:`ReaderAgreement`) its mean over the images as ``mean`` (None if it was not measured) and
        ``interval_95`` (None with under 5 patients), by bootstrap over the patients, for the differences also the
        ``verdict``. All but ``model`` and ``pairs`` are of the images of three or more readers.
    """
    resamples = patient_resamples(patients)
    values = {name: np.array([getattr(one, name) for one in agreements], dtype=float) for name in _MEASURES}
    names = np.asarray(patients)
    rows = []
    for title, inside in lesion_classes([one.diameter_mm for one in agreements], textures):
        if inside.any():
            row = {"class": title, "images": int(inside.sum()), "patients": len(set(names[inside]))}
            row["images_of_three_readers"] = int((inside & ~np.isnan(values["reader"])).sum())
            measures = {name: mean_and_interval(values[name], inside, names, resamples) for name in _MEASURES}
            verdicts = {name: measures[name] | {"verdict": _verdict(measures[name]).value} for name in _DIFFERENCES}
            rows.append(row | measures | verdicts)
    return rows


def _verdict(difference: Mapping[str, Any]) -> Verdict:
    if difference["interval_95"] is None:
        return Verdict.TOO_FEW
    low, high = difference["interval_95"]
    if low > 0:
        return Verdict.ABOVE
    return Verdict.BELOW if high < 0 else Verdict.UNDECIDED
