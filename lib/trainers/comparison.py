"""Comparison of a version with the one in use, on patients that neither was trained on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus

from lib.errors import UserError
from lib.inference import WeightsFile, WeightsSource
from lib.publishing import ModelStore
from lib.publishing.gate import Rule, Scores, Verdict, judge, not_measured
from lib.publishing.measurement import unseen, version_weights
from lib.trainers.candidate import Candidate

logger = logging.getLogger(__name__)

Measure = Callable[[Mapping[int, WeightsSource], Mapping[str, int]], Scores]
"""Measures the weights without each fold on patients, given with the fold of each."""

COMPARE = "compare"  # in the request of a training: the version to compare instead


def compare_candidate(
    store: ModelStore, candidate: Candidate, measure: Measure, rule: Rule, why_not_measured: str
) -> tuple[str | None, Verdict]:
    """Return the version in use, and the verdict on a candidate compared with it.

    Args:
        store: Store of the versions.
        candidate: The candidate.
        measure: Measures both.
        rule: The rule of the gate.
        why_not_measured: Why no patient was left out of a training, if none was; a part of a sentence.
    """
    if not candidate.measured:
        return store.serving_version(), not_measured(why_not_measured)
    weights: dict[int, WeightsSource] = {fold: WeightsFile(one) for fold, one in candidate.fold_weights.items()}
    return compare_with_serving(store, weights, candidate.measured, measure, rule)


def compare_with_serving(
    store: ModelStore,
    weights: Mapping[int, WeightsSource],
    folds: Mapping[str, int],
    measure: Measure,
    rule: Rule,
    accepted: str = "In use",
) -> tuple[str | None, Verdict]:
    """Return the version in use, and the verdict on weights compared with it.

    Args:
        store: Store of the versions.
        weights: The weights without each fold.
        folds: Folds of the patients that these can be measured on; those whom the version in use has seen are left out.
        measure: Measures both; without scores, if no patient has a lesion, there is no comparison.
        rule: The rule of the gate.
        accepted: First words of the reason if they are better.
    """
    serving = store.serving_version()
    manifest, kept = (store.manifest(serving), store.fold_weights(serving)) if serving else (None, {})
    judges = unseen(manifest, kept, folds)
    if not judges:
        return serving, not_measured("the model in use was trained on every labelled patient")
    published = measure(version_weights(store, serving, judges), judges) if serving else None
    candidate = measure(weights, judges)
    if not candidate:
        return serving, not_measured("the label of no patient who could judge it has a lesion")
    return serving, judge(candidate, published, rule, accepted=accepted)


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
    serving, verdict = compare_with_serving(store, weights, judges, measure, rule, "Kept, not in use")
    if verdict.candidate is None:
        raise UserError(
            "There is nothing to compare on: every labelled patient was trained on by this version, the one in use or "
            "the shipped weights. Label more patients.",
            HTTPStatus.CONFLICT,
        )
    store.write_verdict(known["version"], verdict.as_dict() | {"compared_with": serving})
    logger.info("Version %s compared with %s: %s", version, serving, verdict.outcome)
    return verdict
