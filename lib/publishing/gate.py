"""Publication gate: a paired test over patients decides whether a candidate replaces the model in use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from lib.storage.json_values import finite

Outcome = Literal["in use", "kept", "refused"]

_MOST_EXACT = 13
_ROUNDING = 1e-9


@dataclass(frozen=True)
class PatientScores:
    """Scores of a model on the whole scans of a patient that it was not trained on.

    Attributes:
        scans: Number of scans.
        lesions: Number of lesions in the labels of all scans.
        found: How many of them were found, with an IoU of at least 0.3.
        dice: Mean Dice over these lesions, each with the predicted component that matches it best, 0 for a missed one;
            NaN if the output of the model is not finite; not used without lesions.
        false_findings: Mean number per scan of predicted components that touch no lesion.
        marked_voxels: Number of voxels marked in all scans.
    """

    scans: int
    lesions: int
    found: int
    dice: float
    false_findings: float
    marked_voxels: int


Scores = Mapping[str, PatientScores]
"""Scores by patient."""


@dataclass(frozen=True)
class Summary:
    """Scores of a model over all patients.

    Attributes:
        dice: Mean lesion Dice over the patients with a lesion; 0 if none has any.
        false_positives: Mean number of false findings per scan over the patients.
        found: Number of lesions found.
        lesions: Number of lesions.
        patients: Scores by patient.
    """

    dice: float
    false_positives: float
    found: int
    lesions: int
    patients: dict[str, PatientScores]

    @classmethod
    def of(cls, scores: Scores) -> Summary:
        """Average over patients, so that one with many scans or lesions has the same weight as the others."""
        dice = [one.dice for one in scores.values() if one.lesions or not math.isfinite(one.dice)]
        false_findings = [one.false_findings for one in scores.values()]
        return cls(
            float(np.mean(dice)) if dice else 0.0,
            float(np.mean(false_findings)),
            sum(one.found for one in scores.values()),
            sum(one.lesions for one in scores.values()),
            dict(scores),
        )


@dataclass(frozen=True)
class Rule:
    """Section ``publish`` of info.yaml.

    Attributes:
        error: Probability of publishing a candidate that is not better.
        false_finding_weight: Dice that one false finding per scan outweighs.
        dice_margin: Largest accepted decrease of the mean lesion Dice.
        collapse: Decrease of the lesion Dice of one patient that refuses the candidate.
    """

    error: float
    false_finding_weight: float
    dice_margin: float
    collapse: float


@dataclass(frozen=True)
class Verdict:
    """Decision about a candidate.

    Attributes:
        publish: Whether the candidate is put into use.
        outcome: ``in use``; ``kept`` for a person to decide; or ``refused``, because it is worse.
        reason: Reason, a sentence for the user.
        candidate: Scores of the candidate; None if it was not measured.
        published: Scores of the model in use on the same patients.
        p: Probability of a gain as large by chance alone; None if there was no test.
    """

    publish: bool
    outcome: Outcome
    reason: str
    candidate: Summary | None = None
    published: Summary | None = None
    p: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object for manifests and ``/info``; scores that are NaN or infinite become None."""
        return finite(asdict(self))


def judge(candidate: Scores, published: Scores | None, rule: Rule, *, accepted: str = "In use") -> Verdict:
    """Decide whether a candidate is published.

    It is refused if an output is not finite, if it collapses on a single patient, or if it is worse: in the mean
    lesion Dice, in the lesions found, or in the gain. The gain of a patient is the increase of the lesion Dice, minus
    ``false_finding_weight`` for each additional false finding per scan. It is published if the mean gain over the
    patients is larger than chance explains: if the two models were equal, the sign of each patient's gain would be
    random, and an exact one-sided test over these signs gives the probability of such a mean. With fewer than five
    patients no gain is that improbable, so the candidate is kept for a person to decide. So is one that marks no
    lesion, also if none of the patients has any: nothing shows that it does more than mark less.

    Args:
        candidate: Scores of the new model; each patient measured by weights that were not trained on that patient.
        published: Scores of the model in use on the same patients; None if there is none.
        rule: The rule.
        accepted: First words of the reason if the candidate is better.
    """
    after = Summary.of(candidate)
    before = Summary.of(published) if published is not None else None
    refused = _unusable(candidate, published, rule) or (before and published and _worse(after, before, rule))
    if refused:
        text = f"; {_comparison(candidate, published, after, before, rule)}" if before and published else ""
        return Verdict(False, "refused", f"Refused: {refused}{text}. The model in use stays.", after, before)
    if published is None or before is None:
        text = f"Dice {after.dice:.2f}, false findings {after.false_positives:.1f}"
        return Verdict(True, "in use", f"{accepted}: there was no model before; {text}.", after)
    text = _comparison(candidate, published, after, before, rule)
    p = _chance(gains(candidate, published, rule))
    if not after.dice:
        why = "it marks no lesion of these patients"
        return Verdict(False, "kept", f"Kept, not in use: {text}; {why}.", after, before, p)
    if p <= rule.error:
        return Verdict(True, "in use", f"{accepted}: {text}.", after, before, p)
    fewest = math.ceil(-math.log2(rule.error))
    few = len(candidate) < fewest
    why = f"too few patients to exclude chance ({fewest} are enough)" if few else f"may be chance (p = {p:.2f})"
    return Verdict(False, "kept", f"Kept, not in use: {text}; {why}.", after, before, p)


def not_measured(why: str) -> Verdict:
    """Return the verdict on a candidate that could not be measured."""
    return Verdict(False, "kept", f"Kept, not in use: it was not measured, because {why}.")


def gains(candidate: Scores, published: Scores, rule: Rule) -> list[float]:
    """Return the gain of each patient, in Dice; see `judge`."""
    return [_gain(one, published[patient], rule) for patient, one in candidate.items()]


def _gain(after: PatientScores, before: PatientScores, rule: Rule) -> float:
    dice = after.dice - before.dice if after.lesions else 0.0
    return dice - rule.false_finding_weight * (after.false_findings - before.false_findings)


def _chance(differences: Sequence[float]) -> float:
    """Return the probability of a mean at least as large if the sign of each difference were random.

    All signs are tried for up to 13 patients, and with more a random sample of them, always the same one.
    """
    count = len(differences)
    if count <= _MOST_EXACT:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)  # the first row changes no sign
    else:
        signs = np.random.default_rng(0).choice((-1, 1), (2**_MOST_EXACT, count))
        signs[0] = 1
    means = signs @ np.asarray(differences)
    return float(np.mean(means >= means[0] - _ROUNDING))


def _unusable(candidate: Scores, published: Scores | None, rule: Rule) -> str | None:
    """Return why a candidate cannot be used whatever its mean scores are, or None."""
    for model, scores in (("new model", candidate), ("model in use", published or {})):
        if wrong := [patient for patient, one in scores.items() if not _is_finite(one)]:
            return f"the output of the {model} is not finite on {_names(wrong)}"
    marked = sum(one.marked_voxels for one in candidate.values())
    if not marked and any(one.lesions for one in candidate.values()):
        return "the new model marks nothing on any scan"
    pairs = {patient: (one, published[patient]) for patient, one in candidate.items()} if published else {}
    if empty := [name for name, (new, old) in pairs.items() if new.lesions and old.dice > 0 and not new.marked_voxels]:
        return f"the new model marks nothing on {_names(empty)}"
    lost = [name for name, (new, old) in pairs.items() if new.lesions and old.dice - new.dice > rule.collapse]
    if lost:
        new, old = pairs[lost[0]]
        return f"its Dice collapses on {_names(lost)} ({old.dice:.2f} → {new.dice:.2f})"
    return None


def _worse(after: Summary, before: Summary, rule: Rule) -> str | None:
    """Return in what a candidate is worse in the mean, or None."""
    if after.dice < before.dice - rule.dice_margin:
        return f"its Dice is lower by more than {rule.dice_margin:g}"
    if after.found < before.found:
        return f"it finds {after.found} of {after.lesions} lesions, the model in use {before.found}"
    loss = rule.false_finding_weight * (after.false_positives - before.false_positives)
    if loss > max(after.dice - before.dice, 0) + rule.dice_margin:
        return "its false findings outweigh its gain in Dice"
    return None


def _comparison(candidate: Scores, published: Scores | None, after: Summary, before: Summary | None, rule: Rule) -> str:
    assert published is not None and before is not None
    better = sum(gain > 0 for gain in gains(candidate, published, rule))
    text = f"better on {better} of {len(candidate)} patients, Dice {before.dice:.2f} → {after.dice:.2f}"
    if not before.false_positives and not after.false_positives:
        return text
    return f"{text}, false findings {before.false_positives:.1f} → {after.false_positives:.1f}"


def _is_finite(scores: PatientScores) -> bool:
    return math.isfinite(scores.dice) and math.isfinite(scores.false_findings)


def _names(patients: Sequence[str]) -> str:
    return ", ".join(patients[:3]) + (f" and {len(patients) - 3} more" if len(patients) > 3 else "")
