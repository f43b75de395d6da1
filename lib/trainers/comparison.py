"""Comparison of a version with the one in use, on patients that neither was trained on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from lib.errors import UserError
from lib.inference import ModelDescription, WeightsSource
from lib.publishing import ModelStore
from lib.publishing.gate import Rule, Verdict, judge, not_measured
from lib.publishing.measurement import measure, unseen, version_weights

logger = logging.getLogger(__name__)

COMPARE = "compare"  # in the request of a training: the version to compare instead


def compare_with_serving(
    store: ModelStore,
    weights: Mapping[int, WeightsSource],
    folds: Mapping[str, int],
    cases: Sequence[dict[str, Any]],
    model: ModelDescription,
    rule: Rule,
    accepted: str = "In use",
) -> tuple[str | None, Verdict]:
    """Return the version in use, and the verdict on weights compared with it.

    Args:
        store: Store of the versions.
        weights: The weights without each fold.
        folds: Folds of the patients that these can be measured on; those whom the version in use has seen are left out.
        cases: Labelled cases.
        model: Model of both.
        rule: The rule of the gate.
        accepted: First words of the reason if they are better.
    """
    serving = store.serving_version()
    manifest, kept = (store.manifest(serving), store.fold_weights(serving)) if serving else (None, {})
    judges = unseen(manifest, kept, folds)
    if not judges:
        return serving, not_measured("the model in use was trained on every labelled patient")
    published = measure(version_weights(store, serving, judges), cases, judges, model) if serving else None
    return serving, judge(measure(weights, cases, judges, model), published, rule, accepted=accepted)


def compare(
    store: ModelStore,
    version: object,
    folds: Mapping[str, int],
    cases: Sequence[dict[str, Any]],
    model: ModelDescription,
    rule: Rule,
) -> Verdict:
    """Compare a kept version with the one in use, and record the verdict with the version.

    Does not change which version serves.

    Args:
        store: Store of the versions.
        version: Id of a kept version.
        folds: Folds of the labelled patients.
        cases: Labelled cases.
        model: Model of both versions.
        rule: The rule of the gate.

    Raises:
        UserError: The version does not exist or is damaged, or there is no patient to compare on.
    """
    known = store.manifest(str(version))
    if known is None:
        raise UserError(f"There is no model version {version!r} to compare.", HTTPStatus.NOT_FOUND)
    judges = unseen(known, store.fold_weights(known["version"]), folds)
    weights = version_weights(store, known["version"], judges)
    serving, verdict = compare_with_serving(store, weights, judges, cases, model, rule, "Kept, not in use")
    if verdict.candidate is None:
        raise UserError(
            "There is nothing to compare on: every labelled patient was trained on by this version, the one in use or "
            "the shipped weights. Label more patients.",
            HTTPStatus.CONFLICT,
        )
    store.write_verdict(known["version"], verdict.as_dict() | {"compared_with": serving})
    logger.info("Version %s compared with %s: %s", version, serving, verdict.outcome)
    return verdict
