"""What a training leaves: a version with its origin and verdict, in use if the gate says so."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.publishing import ModelStore
from lib.publishing.gate import Verdict
from lib.publishing.hold_out import patient_of

logger = logging.getLogger(__name__)


def origin(run: str, trained: Sequence[dict[str, Any]], held_out: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the entries of the manifest that say which run and which labels a version comes from.

    Args:
        run: Name of the run.
        trained: Cases that it was trained on.
        held_out: Cases of the held-out patients.
    """
    return {
        "run": run,
        "trained_on": sorted({patient_of(case) for case in trained}),
        "held_out": sorted({patient_of(case) for case in held_out}),
        "labels": {case.get("image_id", case["image"]): case.get("label_sha256") for case in (*trained, *held_out)},
    }


def keep(store: ModelStore, weights: Path, manifest: dict[str, Any], verdict: Verdict) -> str:
    """Keep a candidate as a version, put it into use if the verdict says so, and return its id.

    Args:
        store: Store of the versions.
        weights: Weights of the candidate; they are copied.
        manifest: Manifest without the verdict, with ``run``.
        verdict: Verdict of the gate.
    """
    version = store.keep(weights, {**manifest, "verdict": verdict.as_dict()})
    if verdict.publish:
        store.serve(version, by=f"training {manifest['run']}", why=verdict.reason)
    logger.info("Version %s: %s", version, verdict.reason)
    return version
