"""Comparison of a kept version with the one in use on request, by the rule for newly trained candidates."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from lib.errors import UserError
from lib.publishing import ModelStore
from lib.publishing.gate import Verdict, judge
from lib.publishing.held_out_scores import score_kept
from lib.publishing.hold_out import patient_of

logger = logging.getLogger(__name__)

COMPARE = "compare"  # in the request of a training: the version to compare instead


def compare(store: ModelStore, version: object, held_out: Sequence[dict[str, Any]], info: dict[str, Any]) -> Verdict:
    """Score a version and the one in use on the held-out patients, and record the verdict with the version.

    Does not change which version serves.

    Args:
        store: Store of the versions.
        version: Id of a kept version.
        held_out: Cases of the held-out patients.
        info: ``info.yaml``.

    Raises:
        UserError: The version does not exist or is damaged, or no patient is held out.
    """
    known = next((one for one in store.manifests() if one["version"] == version), None)
    if known is None:
        raise UserError(f"There is no model version {version!r} to compare.", HTTPStatus.NOT_FOUND)
    trained_on = set(known.get("trained_on", []))
    cases = [case for case in held_out if patient_of(case) not in trained_on]
    if not cases:
        raise UserError(
            "There is nothing to compare on: no labelled patient is held out that this version was not trained on. "
            "Label more patients.",
            HTTPStatus.CONFLICT,
        )
    with tempfile.TemporaryDirectory() as name:
        candidate, in_use = Path(name) / "candidate.pt", Path(name) / "in_use.pt"
        candidate.write_bytes(store.read(str(version)))
        serving = store.serving_version()
        if serving:
            used, content = store.read_serving()
            serving = used.version
            in_use.write_bytes(content)
        scores = score_kept(candidate, cases, info)
        published = score_kept(in_use, cases, info) if serving else None
    verdict = judge(scores, published, **info["publish"], accepted="Kept, not in use")
    store.note_verdict(str(version), verdict.as_dict() | {"compared_with": serving})
    logger.info("Version %s compared with %s: %s", version, serving, verdict.reason)
    return verdict
