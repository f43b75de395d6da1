"""Summary of the results of all images: the measures of a model with confidence intervals."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lib.evaluation.bootstrap import interval_95, patient_resamples
from lib.evaluation.cases import CaseResult
from lib.evaluation.metrics import SIZES_MM, VoxelCounts, size_title
from lib.evaluation.reader_comparison import compare_with_readers
from lib.evaluation.textures import Texture

Measure = Callable[[Sequence[CaseResult]], float | None]


def summarize(cases: Sequence[CaseResult], textures: Mapping[str, Texture] | None = None) -> dict[str, Any]:
    """Return the measures of one model over all images.

    Args:
        cases: Result of each image.
        textures: Texture of the lesion by name of the case, where it is known.

    Returns:
        Each measure as a number, or None if it could not be measured; under ``averaged`` how it is averaged;
        under ``interval_95`` its 95 % interval, by bootstrap over the patients (1000 resamples); under ``readers`` the
        comparison with the readers (:func:`compare_with_readers`), empty without images of several readers.
    """
    images = np.arange(len(cases))
    draws = [np.repeat(images, drawn) for drawn in patient_resamples([case.patient for case in cases])]
    summary: dict[str, Any] = {"n": len(cases), "averaged": {"n": "images"}, "interval_95": {}}
    for name, (averaged, measure) in MEASURES.items():
        values = [value for draw in draws if (value := measure([cases[index] for index in draw])) is not None]
        summary[name] = measure(cases)
        summary["averaged"][name] = averaged
        summary["interval_95"][name] = interval_95(values)
    counts = _pooled(cases)
    summary["voxels"] = {
        "true_positive": counts.true_positive,
        "true_negative": counts.true_negative,
        "false_positive": counts.false_positive,
        "false_negative": counts.false_negative,
    }
    summary["sizes"] = [_of_size(cases, *limits) for limits in SIZES_MM]
    summary["readers"] = _beside_readers(cases, textures or {})
    return summary


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _pooled(cases: Sequence[CaseResult]) -> VoxelCounts:
    return VoxelCounts(
        *(
            sum(getattr(case.counts, name) for case in cases)
            for name in ("true_positive", "true_negative", "false_positive", "false_negative")
        )
    )


def _small_tumor_recall(cases: Sequence[CaseResult]) -> float | None:
    return _mean([lesion.hit for case in cases for lesion in case.lesions if lesion.small])


def _robustness_std(cases: Sequence[CaseResult]) -> float | None:
    return _mean([case.robustness_std for case in cases if case.robustness_std is not None])


def _beside_readers(cases: Sequence[CaseResult], textures: Mapping[str, Texture]) -> list[dict[str, Any]]:
    compared = [(case.readers, case.patient, textures.get(case.name)) for case in cases if case.readers is not None]
    return compare_with_readers(*zip(*compared, strict=True)) if compared else []


def _of_size(cases: Sequence[CaseResult], low: float, high: float) -> dict[str, Any]:
    lesions = [lesion for case in cases for lesion in case.lesions if low <= lesion.diameter_mm < high]
    return {
        "title": size_title(low, high),
        "from_mm": low,
        "to_mm": None if np.isinf(high) else high,
        "lesions": len(lesions),
        "found": sum(lesion.hit for lesion in lesions),
        "mean_dice": _mean([lesion.dice for lesion in lesions]),
    }


MEASURES: dict[str, tuple[str, Measure]] = {
    "dice": ("mean over images", lambda cases: _mean([case.counts.dice for case in cases])),
    "iou": ("mean over images", lambda cases: _mean([case.counts.iou for case in cases])),
    "small_tumor_recall": ("share of lesions under 10 mm found, IoU >= 0.3", _small_tumor_recall),
    "lesion_recall": (
        "share of all lesions found, IoU >= 0.3",
        lambda cases: _mean([lesion.hit for case in cases for lesion in case.lesions]),
    ),
    "false_positives_per_scan": (
        "mean over images of components that touch no lesion",
        lambda cases: _mean([case.false_positives for case in cases]),
    ),
    "robustness_std": ("mean over images of the standard deviation of Dice under changed intensity", _robustness_std),
    "accuracy": ("over all voxels of all images", lambda cases: _pooled(cases).accuracy),
    "precision": ("over all voxels of all images", lambda cases: _pooled(cases).precision),
    "sensitivity": ("over all voxels of all images", lambda cases: _pooled(cases).sensitivity),
    "f_score": ("over all voxels of all images; Dice of the pooled voxels", lambda cases: _pooled(cases).dice),
}
