"""Verdict on a candidate of the model for clicks, by the gate of all models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from lib.evaluation.click_scores import ClickScores
from lib.publishing.gate import Scores, Verdict, judge
from lib.storage.json_values import finite

ByPatient = Mapping[str, ClickScores]


def judge_clicks(
    candidate: ByPatient, published: ByPatient, rule: Mapping[str, Any], *, why_none: str, **options: Any
) -> Verdict:
    """Decide whether a candidate is published, by the mean of its Dice after one and after three clicks.

    Args:
        candidate: Scores of the new model by patient; empty if it was not measured.
        published: Scores of the model in use on the same patients.
        rule: Section ``publish`` of info.yaml.
        why_none: Why there are no scores, as a part of a sentence.
        options: Further options of the gate.
    """
    if not candidate:
        return judge(None, None, **rule, no_hold_out_reason=why_none)
    verdict = judge(_scores(candidate), _scores(published), **rule, **options)
    return replace(verdict, reason=f"{verdict.reason} {_in_words(candidate, published)}")


def click_scores_to_json(candidate: ByPatient, published: ByPatient) -> dict[str, Any]:
    """Return the entry ``clicks`` of a manifest: the scores of both models by patient."""
    both = {"candidate": candidate, "published": published}
    return finite({model: {name: asdict(one) for name, one in scores.items()} for model, scores in both.items()})


def _scores(by_patient: ByPatient) -> Scores:
    """Return scores for the gate; a model that outlines what a user points at has no false findings."""
    return Scores.mean([*by_patient], [one.dice for one in by_patient.values()], [0] * len(by_patient))


def _in_words(candidate: ByPatient, published: ByPatient) -> str:
    def means(scores: ByPatient) -> tuple[float, float]:
        after_one, after_three = np.mean([(one.after_one, one.after_three) for one in scores.values()], axis=0)
        return float(after_one), float(after_three)

    (one, three), (one_before, three_before) = means(candidate), means(published)
    return f"Dice after one click {one:.3f} (before {one_before:.3f}), after three {three:.3f} ({three_before:.3f})."
