"""Findings of a mask: where each is, and how confident the model is that it is a lesion."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Finding:
    """A finding in a mask.

    Attributes:
        voxel: (i, j, k) index of a voxel of the finding on the image's own grid as loaded (column, row, slice order of
            the volume that ``GET /datastore/image`` hands out).
        confidence: Calibrated probability that it is a lesion, 0 to 1; None in a crop, where it is not judged.
    """

    voxel: tuple[int, int, int]
    confidence: float | None


def finding_at_each_component(components: np.ndarray, findings: Iterable[Finding]) -> dict[int, Finding]:
    """Return the finding in each connected component of a mask, by the number of the component.

    A component with several findings has the most confident one; a component without any is left out.

    Args:
        components: Numbers of the components from 1, 0 elsewhere, shape (column, row, slice), as
            :func:`lib.geometry.connected_components.connected_components` returns them.
        findings: In any order; those outside all components are ignored.
    """
    found: dict[int, Finding] = {}
    for finding in sorted(findings, key=_rank):
        inside = all(0 <= index < length for index, length in zip(finding.voxel, components.shape, strict=True))
        if inside and (number := int(components[finding.voxel])):
            found[number] = finding
    return found


def findings_to_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return findings as values for JSON, the most confident first."""
    return [
        {
            "voxel": [int(index) for index in finding.voxel],
            "confidence": None if finding.confidence is None else float(finding.confidence),
        }
        for finding in sorted(findings, key=_rank, reverse=True)
    ]


def findings_from_json(values: object) -> list[Finding]:
    """Return the findings that :func:`findings_to_json` wrote; entries that are not in this format are left out."""
    found = (_finding(value) for value in values) if isinstance(values, list) else ()
    return [finding for finding in found if finding is not None]


def _finding(value: Any) -> Finding | None:
    try:
        voxel, confidence = tuple(value["voxel"]), value["confidence"]
    except (TypeError, KeyError):
        return None
    if len(voxel) != 3 or not all(type(index) is int for index in voxel):
        return None
    known = type(confidence) in (int, float) and math.isfinite(confidence) and 0 <= confidence <= 1
    return Finding(voxel, confidence) if known or confidence is None else None


def _rank(finding: Finding) -> float:
    return -1.0 if finding.confidence is None else finding.confidence
