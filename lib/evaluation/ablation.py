"""What each part of the paper's method is worth: the same data and budget, one part more in each row."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MEASURES = {
    "dice": "Dice",
    "small_tumor_recall": "small-tumour recall",
    "lesion_recall": "lesions found",
    "false_positives_per_scan": "false findings",
}


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        name: Folder of its runs.
        title: What it is, for people.
        changes: What differs from info.yaml, by section.
        trained_as: Name of the variant whose weights it uses; None trains its own.
    """

    name: str
    title: str
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    trained_as: str | None = None

    def info(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """info.yaml with the changes, but no mirrored views and none of the limits chosen for the shipped weights."""
        info = copy.deepcopy(dict(base))
        sections = {
            "network": info["network"],
            "preprocessing": info["preprocessing"],
            "train": info["config"]["train"],
            "infer": info["config"]["infer"],
        }
        sections["infer"] |= _NO_LIMITS
        for section, values in self.changes.items():
            sections[section] |= values
        return info


# How sure a network is depends on its loss and its training: limits fitted to one would judge the others.
_NO_LIMITS = {"min_confidence": 0.0, "max_elongation": 0.0, "views": 1}
_DICE_ONLY = {"loss_lambda": 1.0}
_NO_CRF = {"crf": False}

VARIANTS = (
    Variant(
        "unet",
        "U-Net, Dice loss",
        {"network": {"residual": False, "attention": False}, "train": _DICE_ONLY, "infer": _NO_CRF},
    ),
    Variant("residual", "+ residual", {"network": {"attention": False}, "train": _DICE_ONLY, "infer": _NO_CRF}),
    Variant("attention", "+ attention", {"train": _DICE_ONLY, "infer": _NO_CRF}),
    Variant("hybrid", "+ hybrid loss", {"infer": _NO_CRF}),
    Variant("crf", "+ CRF", {"infer": {"crf": True}}, trained_as="hybrid"),
    Variant(
        "slice",
        "hybrid loss, whole slice instead of lungs",
        # At the width of a usual field of view, so that crops and scans come at like scales.
        {"preprocessing": {"field": "slice", "field_mm": 400}, "infer": _NO_CRF},
    ),
)


def markdown(results: Mapping[str, Sequence[Mapping[str, Mapping[str, Any]]]], sets: Sequence[str]) -> str:
    """The table: mean and standard deviation over the seeds.

    Args:
        results: For each variant's name one entry for each seed: the summary (``lib.evaluation.summary``) by test set.
        sets: Names of the test sets, in order.
    """
    columns = [(test, measure) for test in sets for measure in MEASURES]
    head = ["", *(f"{test}: {MEASURES[measure]}" for test, measure in columns)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for variant in VARIANTS:
        seeds = results.get(variant.name)
        if seeds:
            cells = (_spread([seed[test][measure] for seed in seeds]) for test, measure in columns)
            lines.append("| " + " | ".join([variant.title, *cells]) + " |")
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float | None]) -> str:
    numbers = [value for value in values if value is not None]
    if not numbers:
        return "–"
    digits = 1 if max(numbers) > 1 else 3
    return f"{np.mean(numbers):.{digits}f} ± {np.std(numbers, ddof=min(1, len(numbers) - 1)):.{digits}f}"
