"""Ablation of the paper's method: each row of the table adds one part, with the same data and budget."""

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
    "robustness_std": "robustness std",
}


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        name: Name of the folder of its runs.
        title: Title in the table.
        changes: Settings that differ from info.yaml, by section.
        trained_as: Name of the variant whose weights it uses; None trains its own.
        second_stage: Whether the shipped classifier judges its candidates; otherwise all are kept.
    """

    name: str
    title: str
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    trained_as: str | None = None
    second_stage: bool = False

    def info(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """Return info.yaml with the changes, without mirrored views.

        Args:
            base: Content of info.yaml.
        """
        info = copy.deepcopy(dict(base))
        sections = {
            "network": info["network"],
            "preprocessing": info["preprocessing"],
            "train": info["config"]["train"],
            "infer": info["config"]["infer"],
        }
        sections["infer"] |= _ONE_VIEW
        for section, values in self.changes.items():
            sections[section] |= values
        return info


_ONE_VIEW = {"views": 1}
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
    Variant("second_stage", "+ second stage", {"infer": _NO_CRF}, trained_as="hybrid", second_stage=True),
    Variant("crf", "hybrid loss + CRF", {"infer": {"crf": True}}, trained_as="hybrid"),
    Variant(
        "slice",
        "hybrid loss, whole slice instead of lungs",
        # The width of a typical field of view, so that crops and scans have similar scales.
        {"preprocessing": {"field": "slice", "field_mm": 400}, "infer": _NO_CRF},
    ),
)


def table(
    results: Mapping[str, Sequence[Mapping[str, Mapping[str, Any]]]], sets: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table, with mean ± standard deviation over the seeds.

    Args:
        results: By variant, for each seed the summaries (:mod:`lib.evaluation.summary`) by test set.
        sets: Names of the test sets, in order.
    """
    measured = [results[variant.name] for variant in VARIANTS if results.get(variant.name)]
    columns = [
        (test, measure)
        for test in sets
        for measure in MEASURES
        if any(seed[test][measure] is not None for seeds in measured for seed in seeds)
    ]
    head = ["", *(f"{test}: {MEASURES[measure]}" for test, measure in columns)]
    rows = []
    for variant in VARIANTS:
        seeds = results.get(variant.name)
        if seeds:
            rows.append(
                [variant.title, *(_spread([seed[test][measure] for seed in seeds]) for test, measure in columns)]
            )
    return head, rows


def _spread(values: Sequence[float | None]) -> str:
    numbers = [value for value in values if value is not None]
    if not numbers:
        return "–"
    digits = 1 if max(numbers) > 1 else 3
    return f"{np.mean(numbers):.{digits}f} ± {np.std(numbers, ddof=min(1, len(numbers) - 1)):.{digits}f}"
