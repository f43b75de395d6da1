"""Publication gate: a candidate replaces the model in use only if it is not worse on the hold-out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lib.storage.json_values import finite


@dataclass(frozen=True)
class Scores:
    """Scores of a model on whole volumes of the hold-out.

    Attributes:
        dice: Mean Dice; a case without tumour counts 1 if the prediction is empty, else 0.
        false_positives: Mean number per case of predicted connected components that touch no lesion.
        cases: Ids of the scored images.
    """

    dice: float
    false_positives: float
    cases: tuple[str, ...]

    @classmethod
    def mean(cls, cases: Sequence[str], dice: Sequence[float], false_positives: Sequence[int]) -> Scores:
        """Average over cases."""
        return cls(sum(dice) / len(dice), sum(false_positives) / len(false_positives), tuple(cases))


@dataclass(frozen=True)
class Verdict:
    """Decision about a candidate.

    Attributes:
        publish: Whether the candidate is put into use.
        reason: Reason, a sentence for the user.
        candidate: Scores of the candidate; None if there is no hold-out.
        published: Scores of the previous model on the same cases.
    """

    publish: bool
    reason: str
    candidate: Scores | None = None
    published: Scores | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object for manifests and ``/info``; scores that are NaN or infinite become None."""
        return finite(asdict(self))


def judge(
    candidate: Scores | None,
    published: Scores | None,
    *,
    dice_margin: float,
    false_positive_margin: float,
    no_hold_out_reason: str = "no patient is held out",
    accepted: str = "Published",
) -> Verdict:
    """Decide whether a candidate is published.

    It is published if its Dice is at most ``dice_margin`` lower and it has at most ``false_positive_margin`` more false
    positives per scan. A candidate without finite scores is kept, but not put into use.

    Args:
        candidate: Scores of the new model; None if there is no hold-out yet.
        published: Scores of the model in use on the same cases; None if there is none.
        dice_margin: Decrease of Dice that counts as noise.
        false_positive_margin: Increase of false positives per scan that counts as noise.
        no_hold_out_reason: Why the candidate has no scores; part of the reason of the verdict.
        accepted: First words of the reason if the candidate is not worse.
    """
    if candidate is None:
        return Verdict(False, f"Kept, not in use: it was not compared, because {no_hold_out_reason}.")
    measured = (
        f"On {len(candidate.cases)} scan(s) of patients that no model is trained on, "
        f"mean Dice {candidate.dice:.3f}{{}}, false positives per scan {candidate.false_positives:.1f}{{}}."
    )
    if not _are_finite(candidate) or (published and not _are_finite(published)):
        model = "the new model" if not _are_finite(candidate) else "the model in use"
        reason = f"Refused: the scores of {model} are not finite. It is kept, and the model in use stays."
        return Verdict(False, reason, candidate, published)
    if published is None:
        return Verdict(True, f"{accepted}: there was no model before. {measured.format('', '')}", candidate)
    before = f" (model in use {published.dice:.3f})", f" (model in use {published.false_positives:.1f})"
    compared = measured.format(*before)
    reasons = []
    if candidate.dice < published.dice - dice_margin:
        reasons.append(f"its Dice is lower than that of the model in use by more than {dice_margin:g}")
    if candidate.false_positives > published.false_positives + false_positive_margin:
        reasons.append(f"it has over {false_positive_margin:g} more false positives per scan")
    if reasons:
        reason = f"Refused: {', and '.join(reasons)}. {compared} It is kept, and the model in use stays."
        return Verdict(False, reason, candidate, published)
    return Verdict(True, f"{accepted}: it is not worse than the model in use before. {compared}", candidate, published)


def _are_finite(scores: Scores) -> bool:
    return math.isfinite(scores.dice) and math.isfinite(scores.false_positives)
