"""Comparison of a version with the one in use, on patients that neither was trained on."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from http import HTTPStatus

from lib.errors import UserError
from lib.inference import WeightsFile, WeightsSource
from lib.publishing import ModelStore
from lib.publishing.gate import Rule, Scores, Verdict, gains, judge, not_measured
from lib.publishing.measurement import unseen, version_weights
from lib.trainers.candidate import Candidate
from lib.trainers.second_stage import NETWORK

logger = logging.getLogger(__name__)

Measure = Callable[[Mapping[int, WeightsSource], Mapping[str, int]], Scores]
"""Measures the weights without each fold on patients, given with the fold of each."""

COMPARE = "compare"  # in the request of a training: the version to compare instead

_OUTCOMES = ("refused", "kept", "in use")
_SHARE_OF_FIRST = 0.95  # with 0.9, a gain of 0.03 Dice is found with 20 patients in under 80 %


class Comparison:
    """Comparison of weights with the version in use, which is measured once.

    Args:
        store: Store of the versions.
        folds: Folds of the patients that the weights can be measured on; those whom the version in use has seen are
            left out.
        measure: Measures both; without scores, if no patient has a lesion, there is no comparison.
        rule: The rule of the gate.

    Attributes:
        serving: The version in use.
    """

    def __init__(self, store: ModelStore, folds: Mapping[str, int], measure: Measure, rule: Rule) -> None:
        self.serving = store.serving_version()
        manifest, kept = (
            (store.manifest(self.serving), store.fold_weights(self.serving)) if self.serving else (None, {})
        )
        self._store = store
        self._judges = unseen(manifest, kept, folds)
        self._measure = measure
        self._rule = rule

    def verdict(self, weights: Mapping[int, WeightsSource], accepted: str = "In use", share: float = 1.0) -> Verdict:
        """Return the verdict on weights.

        Args:
            weights: The weights without each fold.
            accepted: First words of the reason if they are better.
            share: Share of the rule's error that this verdict may use up, if there are several.
        """
        if not self._judges:
            return not_measured("the model in use was trained on every labelled patient")
        candidate, published = self._measure(weights, self._judges), self._published
        if not candidate:
            return not_measured("the label of no patient who could judge it has a lesion")
        return judge(candidate, published, replace(self._rule, error=self._rule.error * share), accepted=accepted)

    @cached_property
    def _published(self) -> Scores | None:
        if not self.serving:
            return None
        return self._measure(version_weights(self._store, self.serving, self._judges), self._judges)


def compare_variants(
    store: ModelStore, variants: Mapping[str, Candidate], measure: Measure, rule: Rule, why_not_measured: str
) -> tuple[str | None, str, Verdict]:
    """Return the version in use, the best variant of a candidate, and the verdict on it.

    A variant that is published is better than one that is kept, and that than one that is refused; among these, the
    mean gain decides. All verdicts together publish a variant that is not better with the error of the rule: the first
    variant uses up nearly all of it, the others share the rest, which is enough from ten patients on. Without a
    measurement, the second stage stays as it is: tuned on two scans, it let more false findings pass in another site.

    Args:
        store: Store of the versions.
        variants: The variants, the preferred one first.
        measure: Measures them and the version in use.
        rule: The rule of the gate.
        why_not_measured: Why no patient was left out of a training, if none was; a part of a sentence.
    """
    measured = variants[NETWORK].measured
    if not measured:
        return store.serving_version(), NETWORK, not_measured(why_not_measured)
    comparison = Comparison(store, measured, measure, rule)
    verdicts = {}
    for name, share in zip(variants, _shares(len(variants)), strict=True):
        weights = {fold: WeightsFile(path) for fold, path in variants[name].fold_weights.items()}
        verdicts[name] = comparison.verdict(weights, share=share)
        logger.info("%s: %s", name, verdicts[name].outcome)
    best = max(verdicts, key=lambda name: _rank(verdicts[name], rule))
    return comparison.serving, best, verdicts[best]


def _shares(count: int) -> list[float]:
    """Return the share of the error that each verdict may use up."""
    return [1.0] if count == 1 else [_SHARE_OF_FIRST, *[(1 - _SHARE_OF_FIRST) / (count - 1)] * (count - 1)]


def _rank(verdict: Verdict, rule: Rule) -> tuple[int, float]:
    """Return a sort key of verdicts, highest for the best; the first of equal ones is preferred."""
    gain = 0.0
    if verdict.candidate and verdict.published:
        every = gains(verdict.candidate.patients, verdict.published.patients, rule)
        gain = sum(every) / len(every)
    return _OUTCOMES.index(verdict.outcome), gain if math.isfinite(gain) else -math.inf


def compare(
    store: ModelStore,
    version: object,
    folds: Mapping[str, int],
    measure: Measure,
    rule: Rule,
) -> Verdict:
    """Compare a kept version with the one in use, and record the verdict with the version.

    Does not change which version serves.

    Args:
        store: Store of the versions.
        version: Id of a kept version.
        folds: Folds of the labelled patients.
        measure: Measures both versions.
        rule: The rule of the gate.

    Raises:
        UserError: The version does not exist or is damaged, or there is no patient to compare on.
    """
    known = store.manifest(str(version))
    if known is None:
        raise UserError(f"There is no model version {version!r} to compare.", HTTPStatus.NOT_FOUND)
    judges = unseen(known, store.fold_weights(known["version"]), folds)
    weights = version_weights(store, known["version"], judges)
    comparison = Comparison(store, judges, measure, rule)
    verdict = comparison.verdict(weights, "Kept, not in use")
    if verdict.candidate is None:
        raise UserError(
            "There is nothing to compare on: every labelled patient was trained on by this version, the one in use or "
            "the shipped weights. Label more patients.",
            HTTPStatus.CONFLICT,
        )
    store.write_verdict(known["version"], verdict.as_dict() | {"compared_with": comparison.serving})
    logger.info("Version %s compared with %s: %s", version, comparison.serving, verdict.outcome)
    return verdict
