"""Which cases a model is trained on and which it is judged by."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.errors import UserError

_HELD_OUT_SHARE = 0.15


def share_of(name: str) -> float:
    """A number in [0, 1), in hundredths, that belongs to a name for good and is evenly spread over names."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100 / 100


def held_out(patient: str) -> bool:
    """Whether offline training keeps a patient for testing: 15 in 100, by the name alone."""
    return share_of(patient) < _HELD_OUT_SHARE


def split_cases(cases: Sequence[dict[str, Any]], val_split: float) -> tuple[list, list]:
    """Split by a hash of each case's name, so that labels that arrive later move no case to the other side.

    With two cases or more at least one is on either side; with one there is nothing to validate on.

    Args:
        cases: With ``image``, a path, and if known ``image_id``.
        val_split: Share of cases to validate on, 0 to less than 1.

    Returns:
        Cases to train on, cases to validate on.
    """
    if not cases:
        raise UserError("There is nothing to train on: no image is labelled yet.")
    ranked = sorted(cases, key=_share)
    held_out = sum(_share(case) < val_split for case in ranked)
    held_out = min(max(held_out, 1), len(ranked) - 1) if val_split > 0 else 0
    return ranked[held_out:], ranked[:held_out]


def _share(case: dict[str, Any]) -> float:
    return share_of(case.get("image_id") or Path(case["image"]).name)
