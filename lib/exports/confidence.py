"""Confidence of the model in the lesions of a mask, as DICOM objects state it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib.geometry.connected_components import connected_components
from lib.inference.findings import Finding, finding_at_each_component

_MEANING = "It says nothing about malignancy."
_MOST_LESIONS = 90  # so that the text stays within the 1024 characters of an ST (PS3.5 6.2)


def as_percent(confidence: float) -> float:
    """Return a confidence from 0 to 1 in percent, rounded to two decimals."""
    return round(100 * confidence, 2)


def describe_confidence(confidence: float | None) -> str | None:
    """Return a sentence on the confidence in one lesion; None if it is not known."""
    if confidence is None:
        return None
    return f"Confidence of the model that this is a lesion: {_text(confidence)}. {_MEANING}"


def describe_segment(inside: np.ndarray, findings: Sequence[Finding]) -> str | None:
    """Return the Segment Description of a segment with any number of lesions; None if no confidence is known.

    Args:
        inside: Voxels of the segment (slice, row, column).
        findings: Of the model, for the confidence of the lesions that contain one.
    """
    if not findings:
        return None
    components, count = connected_components(inside)
    found = finding_at_each_component(components.transpose(), findings)
    if all(finding.confidence is None for finding in found.values()):
        return None
    largest_first = np.argsort(-np.bincount(components.ravel(), minlength=count + 1)[1:], kind="stable") + 1
    texts = [_text(found[number].confidence if number in found else None) for number in largest_first.tolist()]
    more = [f"and {count - _MOST_LESIONS} more"] if count > _MOST_LESIONS else []
    shown = ", ".join([*texts[:_MOST_LESIONS], *more])
    return f"Confidence of the model that each is a lesion, by number of voxels, the largest first: {shown}. {_MEANING}"


def _text(confidence: float | None) -> str:
    """Return a confidence as text, which never claims certainty."""
    return "none" if confidence is None else f"{min(max(round(100 * confidence), 1), 99)} %"
