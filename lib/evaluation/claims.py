"""The paper's claims, tested on the runs of an ablation: paired differences with intervals over patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from lib.evaluation.bootstrap import interval_95, patient_resamples
from lib.evaluation.cases import CaseResult
from lib.evaluation.summary import MEASURES
from lib.evaluation.tables import html_table, markdown_table


class Outcome(Enum):
    """Whether a claim holds, by the interval of the difference."""

    HOLDS = "holds"
    OPPOSITE = "the opposite holds"
    UNDECIDED = "not shown"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Claim:
    """That one variant is better than another.

    Attributes:
        title: What is claimed, in words.
        measure: Name of the measure, of :data:`lib.evaluation.summary.MEASURES`.
        without: Variant without the part.
        with_it: Variant with it.
        sign: 1 if more of the measure is better, -1 if less is.
        paper: Difference that the paper reports (Tables 2 and 3); None if it gives none.
    """

    title: str
    measure: str
    without: str
    with_it: str
    sign: int = 1
    paper: float | None = None


_HEAD = ("claim", "measure", "difference (95 %)", "paper", "here")
_WHOLE = "the whole method against the U-Net"

CLAIMS = (
    Claim(_WHOLE, "dice", "unet", "hybrid", paper=0.07),
    Claim(_WHOLE, "iou", "unet", "hybrid", paper=0.09),
    Claim(_WHOLE, "small_tumor_recall", "unet", "hybrid", paper=0.13),
    Claim(_WHOLE, "robustness_std", "unet", "hybrid", sign=-1, paper=-0.04),
    Claim(_WHOLE, "accuracy", "unet", "hybrid", paper=0.05),
    Claim(_WHOLE, "precision", "unet", "hybrid", paper=0.07),
    Claim(_WHOLE, "sensitivity", "unet", "hybrid", paper=0.13),
    Claim(_WHOLE, "f_score", "unet", "hybrid", paper=0.10),
    Claim("residual blocks", "dice", "unet", "residual"),
    Claim("attention gates", "dice", "residual", "attention"),
    Claim("hybrid loss", "dice", "attention", "hybrid"),
    Claim("CRF", "dice", "hybrid", "crf"),
    Claim("CRF", "small_tumor_recall", "hybrid", "crf"),
    Claim("CRF", "false_positives_per_scan", "hybrid", "crf", sign=-1),
    Claim("second stage", "false_positives_per_scan", "hybrid", "second_stage", sign=-1),
    Claim("second stage", "lesion_recall", "hybrid", "second_stage"),
    Claim("lungs instead of the whole slice", "dice", "slice", "hybrid"),
)


def check_claims(runs: Mapping[str, Sequence[Sequence[CaseResult]]]) -> list[dict[str, Any]]:
    """Return the difference of each claim whose variants were measured, on one test set.

    Args:
        runs: By variant, for each seed the result of each image; the same images in the same order.

    Returns:
        For each claim ``claim``, ``measure``, ``difference`` (mean over the seeds), ``interval_95`` by bootstrap over
        the patients, ``paper`` and ``outcome``.
    """
    rows = []
    for claim in CLAIMS:
        before, after = runs.get(claim.without, ()), runs.get(claim.with_it, ())
        seeds = min(len(before), len(after))
        if seeds:
            difference, interval = _difference(claim.measure, before[:seeds], after[:seeds])
            rows.append(
                {
                    "claim": claim.title,
                    "measure": claim.measure,
                    "seeds": seeds,
                    "difference": difference,
                    "interval_95": interval,
                    "paper": claim.paper,
                    "outcome": _outcome(claim.sign, interval).value,
                }
            )
    return rows


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the claims as a table in Markdown."""
    return markdown_table(_HEAD, [_cells(row) for row in rows])


def html(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the claims as a table in HTML."""
    return html_table("Claims of the paper, and what holds here", _HEAD, [_cells(row) for row in rows])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    interval = row["interval_95"]
    difference = "–" if row["difference"] is None else f"{row['difference']:+.3f}"
    difference += f" ({interval[0]:+.3f} to {interval[1]:+.3f})" if interval else ""
    paper = "–" if row["paper"] is None else f"{row['paper']:+.2f}"
    return row["claim"], row["measure"].replace("_", " "), difference, paper, row["outcome"]


def _difference(
    measure: str, before: Sequence[Sequence[CaseResult]], after: Sequence[Sequence[CaseResult]]
) -> tuple[float | None, list[float] | None]:
    """Return the mean difference over the seeds, and its interval; None if the images do not have the measure."""
    resamples = patient_resamples([case.patient for case in before[0]])
    images = np.arange(len(before[0]))
    drawn = [_mean_difference(measure, before, after, np.repeat(images, counts)) for counts in resamples]
    values = [value for value in drawn if value is not None]
    return _mean_difference(measure, before, after, images), interval_95(values)


def _mean_difference(
    measure: str, before: Sequence[Sequence[CaseResult]], after: Sequence[Sequence[CaseResult]], images: np.ndarray
) -> float | None:
    function = MEASURES[measure][1]
    pairs = [
        tuple(function([seed[image] for image in images]) for seed in pair) for pair in zip(before, after, strict=True)
    ]
    numbers = [last - first for first, last in pairs if first is not None and last is not None]
    return float(np.mean(numbers)) if numbers else None


def _outcome(sign: int, interval: Sequence[float] | None) -> Outcome:
    if interval is None:
        return Outcome.NOT_MEASURED
    low, high = sorted(sign * end for end in interval)
    if low > 0:
        return Outcome.HOLDS
    return Outcome.OPPOSITE if high < 0 else Outcome.UNDECIDED
