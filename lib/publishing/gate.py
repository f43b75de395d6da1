"""Whether a candidate may replace the model that serves: only if it is not worse on the patients held out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lib.storage.json_values import finite


@dataclass(frozen=True)
class Scores:
    """What a model reached on the held-out cases, whole volumes.

    Attributes:
        dice: Mean over the cases; a case without tumour counts 1 if nothing was found in it, else 0.
        false_positives: Mean number per case of found components that touch no lesion.
        cases: Image ids that were scored.
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
    """What becomes of a candidate.

    Attributes:
        publish: Whether it serves from now on.
        reason: Why, in a sentence for the user.
        candidate: Its scores; None if there was nobody held out.
        published: Those of the model that served, on the same cases.
    """

    publish: bool
    reason: str
    candidate: Scores | None = None
    published: Scores | None = None

    def as_dict(self) -> dict[str, Any]:
        """For manifests and ``/info``; a score that is no number is None, for JSON has none."""
        return finite(asdict(self))


def judge(
    candidate: Scores | None,
    published: Scores | None,
    *,
    dice_margin: float,
    false_positive_margin: float,
    nobody_held_out: str = "no patient is held out",
    accepted: str = "Published",
) -> Verdict:
    """The rule: Dice at most ``dice_margin`` lower, and at most ``false_positive_margin`` more false positives.

    What was not measured, or came to no number, is kept and does not serve.

    Args:
        candidate: Scores of the new model; None where no patient is held out yet.
        published: Scores of the model that serves on the same cases; None where there is none.
        dice_margin: Loss of Dice that is taken for noise.
        false_positive_margin: Gain of false positives per scan that is taken for noise.
        nobody_held_out: Why there are no scores of the candidate.
        accepted: What becomes of one that is not worse, for the reason.
    """
    if candidate is None:
        return Verdict(False, f"Kept, not in use: it is not compared, because {nobody_held_out}.")
    measured = (
        f"On {len(candidate.cases)} scan(s) of patients that no model is trained on, "
        f"mean Dice {candidate.dice:.3f}{{}}, false positives per scan {candidate.false_positives:.1f}{{}}."
    )
    if not _are_numbers(candidate) or (published and not _are_numbers(published)):
        whose = "the new model" if not _are_numbers(candidate) else "the model in use"
        reason = f"Refused: the scores of {whose} are no numbers. It is kept, and the model in use stays."
        return Verdict(False, reason, candidate, published)
    if published is None:
        return Verdict(True, f"{accepted}: there was no model before. {measured.format('', '')}", candidate)
    before = f" (model in use {published.dice:.3f})", f" (model in use {published.false_positives:.1f})"
    compared = measured.format(*before)
    reasons = []
    if candidate.dice < published.dice - dice_margin:
        reasons.append(f"it outlines tumours worse than the model in use: Dice lower by more than {dice_margin:g}")
    if candidate.false_positives > published.false_positives + false_positive_margin:
        reasons.append(f"it marks more that is no tumour: over {false_positive_margin:g} more false positives per scan")
    if reasons:
        reason = f"Refused: {', and '.join(reasons)}. {compared} It is kept, and the model in use stays."
        return Verdict(False, reason, candidate, published)
    return Verdict(True, f"{accepted}: it is not worse than the model in use before. {compared}", candidate, published)


def _are_numbers(scores: Scores) -> bool:
    return math.isfinite(scores.dice) and math.isfinite(scores.false_positives)
