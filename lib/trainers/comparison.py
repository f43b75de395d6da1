"""Comparison of a kept version with the one in use on request, by the rule for newly trained candidates."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from lib.errors import UserError
from lib.inference import ModelDescription, WeightsContent
from lib.publishing import ModelStore
from lib.publishing.gate import Verdict, judge
from lib.publishing.held_out_scores import score_or_nan, score_serving
from lib.publishing.hold_out import patient_of

logger = logging.getLogger(__name__)

ACCEPTED = "Kept, not in use"  # first words of the reason if the version is not worse
COMPARE = "compare"  # in the request of a training: the version to compare instead


def compare(
    store: ModelStore,
    version: object,
    held_out: Sequence[dict[str, Any]],
    model: ModelDescription,
    rule: Mapping[str, Any],
) -> Verdict:
    """Score a version and the one in use on the held-out patients, and record the verdict with the version.

    Does not change which version serves.

    Args:
        store: Store of the versions.
        version: Id of a kept version.
        held_out: Cases of the held-out patients.
        model: Model of both versions.
        rule: Section ``publish`` of info.yaml.

    Raises:
        UserError: The version does not exist or is damaged, or no patient is held out.
    """
    cases = comparable(store, version, held_out)
    scores = score_or_nan(WeightsContent(store.read(str(version)), str(version)), cases, model)
    serving, published = score_serving(store, cases, model)
    verdict = judge(scores, published, **rule, accepted=ACCEPTED)
    note(store, str(version), serving, verdict)
    return verdict


def comparable(store: ModelStore, version: object, held_out: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the cases of the held-out patients that a version can be compared on.

    Args:
        store: Store of the versions.
        version: Id of a kept version.
        held_out: Cases of the held-out patients.

    Raises:
        UserError: The version does not exist, or it was trained on all of them.
    """
    known = next((one for one in store.manifests() if one["version"] == version), None)
    if known is None:
        raise UserError(f"There is no model version {version!r} to compare.", HTTPStatus.NOT_FOUND)
    trained_on = set(known.get("trained_on", []))
    cases = [case for case in held_out if patient_of(case) not in trained_on]
    if not cases:
        raise UserError(
            "There is nothing to compare on: no labelled patient is held out that neither this version nor the shipped "
            "weights were trained on. Label more patients.",
            HTTPStatus.CONFLICT,
        )
    return cases


def note(store: ModelStore, version: str, serving: str | None, verdict: Verdict) -> None:
    """Record the verdict of a comparison with the version.

    Args:
        store: Store of the versions.
        version: The version that was compared.
        serving: The version in use, which it was compared with.
        verdict: The verdict.
    """
    store.write_verdict(version, verdict.as_dict() | {"compared_with": serving})
    logger.info("Version %s compared with %s: %s", version, serving, verdict.reason)
