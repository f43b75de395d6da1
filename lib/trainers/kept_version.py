"""What a training leaves: a version with its origin and verdict, in use if the gate says so."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lib.publishing import ModelStore
from lib.publishing.folds import patient_of
from lib.publishing.gate import Verdict
from lib.publishing.stores import SEGMENTATION
from lib.trainers.candidate import Candidate
from lib.trainers.start_weights import StartWeights
from lib.trainers.tracking import track
from lib.trainers.unfinished_run import Run

logger = logging.getLogger(__name__)


def still_valid(verdict: Verdict, store: ModelStore, compared_with: str | None) -> Verdict:
    """Return a verdict, which publishes nothing if a user has put another version into use during the comparison."""
    serving = store.serving_version()
    if not verdict.publish or serving == compared_with:
        return verdict
    reason = (
        f"Kept, not in use: version {serving} was put into use while this one was compared with {compared_with}. "
        f"Compared with that: {verdict.reason}"
    )
    return replace(verdict, publish=False, outcome="kept", reason=reason)


def keep(
    store: ModelStore,
    candidate: Candidate,
    verdict: Verdict,
    *,
    run: Run,
    start: StartWeights,
    cases: Sequence[dict[str, Any]],
    **facts: Any,
) -> str:
    """Keep a candidate as a version, put it into use if the verdict says so, and return its id.

    A user who tracks trainings with MLflow finds it there; see `track`.

    Args:
        store: Store of the versions.
        candidate: The candidate.
        verdict: Verdict of the gate.
        run: The training.
        start: The weights it started from.
        cases: All labelled cases.
        facts: Further entries of the manifest.
    """
    before = (start.in_use.manifest or {}).get("trained_on", [])
    manifest = {
        "run": run.name,
        "parent": start.version,
        "trained_on": sorted({*before, *(patient_of(case) for case in cases)}),
        "folds": candidate.folds,
        "labels": {case.get("image_id", case["image"]): case.get("label_sha256") for case in cases},
        **facts,
        "verdict": verdict.as_dict(),
    }
    version = store.keep(candidate.weights, manifest, candidate.fold_weights)
    if verdict.publish:
        store.serve(version, by=f"training {run.name}", why=verdict.reason)
    logger.info("Version %s: %s", version, verdict.outcome)  # the reason may name patients
    track({**manifest, "version": version}, run.request.get("model", SEGMENTATION), time.time())
    return version
