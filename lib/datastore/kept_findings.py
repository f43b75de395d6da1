"""The findings of a prediction that are still in the label made from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lib.geometry.connected_components import connected_components, cropped_components


def kept_findings(
    findings: Sequence[Mapping[str, Any]], predicted: np.ndarray, label: np.ndarray
) -> list[dict[str, Any]]:
    """Return the findings that overlap a lesion of the label, each with a voxel that is labelled.

    An edit may erase the voxel of a finding, or divide the finding: each lesion that overlaps it has an entry of its
    own. Its voxel is the one nearest to the former that both masks have.

    Args:
        findings: ``voxel`` (column, row, slice) and further values of each finding, such as its ``confidence``.
        predicted: Mask with the findings (slice, row, column).
        label: The edited mask, same shape.
    """
    if not findings:
        return []
    window, components, _ = cropped_components(predicted)
    lesions, _ = connected_components(label[window])
    start = [part.start for part in window]
    both = np.argwhere((components > 0) & (lesions > 0))
    kept = []
    for finding in findings:
        place = np.array(finding["voxel"][::-1]) - start
        inside = (place >= 0).all() and (place < components.shape).all()
        if inside and (number := components[tuple(place)]):
            overlap = both[components[tuple(both.T)] == number]
            kept += [{**finding, "voxel": voxel} for voxel in _nearest(place, overlap, lesions, start)]
    return kept


def _nearest(place: np.ndarray, overlap: np.ndarray, lesions: np.ndarray, start: list[int]) -> Iterator[list[int]]:
    """Yield, for each lesion, the voxel (column, row, slice) of its overlap with a finding that is nearest to a place.

    Args:
        place: Index of a voxel in the window.
        overlap: Indices (n, 3) of the voxels in the window that the finding shares with lesions.
        lesions: Number of the lesion of each voxel in the window.
        start: First voxel of the window.
    """
    numbers = lesions[tuple(overlap.T)]
    for lesion in np.unique(numbers):
        shared = overlap[numbers == lesion]
        nearest = shared[np.abs(shared - place).sum(axis=1).argmin()] + start
        yield nearest[::-1].tolist()
