"""Findings on the grid of the loaded image: which component of the mask each finding of the network's field became."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from scipy.spatial import cKDTree

from lib.geometry.connected_components import cropped_components
from lib.geometry.field_geometry import FieldGeometry
from lib.transforms.axial_field import field_of
from lib.transforms.candidate_pieces import GAP_MM, are_fragments
from lib.transforms.stored_grid import FieldFinding, places_of, values_at


class StoredFindingsd(MapTransform):
    """Turn the findings of `JudgeCandidatesd` into those of the mask: a voxel and the confidence of each component.

    Resampling and the CRF may divide a finding, and nobody judged its fragments. Each finding keeps the component with
    most of its voxels. Other components of it are removed if they are fragments (see `are_fragments`) near the rest,
    and have its confidence otherwise. A component without a voxel of any finding belongs to the nearest, and one with
    several findings has the confidence of the most confident. In a crop, where findings have no confidence, nothing is
    removed.

    Sets ``data["findings"]`` to the index of a voxel in the mask and the confidence for each component.

    Args:
        keys: Mask on the grid of the loaded image, a MetaTensor (X, Y, Z); changed in place.
        image_key: Input of the network, a MetaTensor with the trace of its transforms.
    """

    def __init__(self, keys: KeysCollection, *, image_key: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Set the voxels of fragments to 0, in place, and record the findings."""
        d = dict(data)
        if d["findings"]:
            field = field_of(d[self.image_key])
            for key in self.key_iterator(d):
                mask, axes = d[key].numpy(), np.asarray(d[key].affine, float)[:3, :3]
                d["findings"] = _findings_of_mask(mask, axes, d["findings"], field)
        return d


def _findings_of_mask(
    mask: np.ndarray, axes: np.ndarray, findings: Sequence[FieldFinding], field: FieldGeometry
) -> list[tuple[tuple[int, int, int], float | None]]:
    """Return the findings of a mask, from which fragments are removed, in place."""
    findings = sorted(findings, key=lambda one: one[1] or 0.0)  # where two meet, the last one counts
    judged = findings[0][1] is not None
    covered = [places_of(voxels, mask, field) for voxels, _ in findings]
    window, components, count = cropped_components(mask)
    origin = np.array([side.start for side in window])
    places = np.concatenate(covered) - origin
    finding = np.repeat(np.arange(len(findings)), [len(one) for one in covered])
    number = values_at(places, components)  # of the component at each place
    owner = np.full(count + 1, -1)
    np.maximum.at(owner, number, finding)
    voxel = np.zeros((count + 1, 3), int)

    if (owner[1:] < 0).any():
        owner[0] = 0
        apart = np.argwhere((owner < 0)[components])
        distances, nearest = cKDTree(places @ axes.T).query(apart @ axes.T)
        order = np.argsort(-distances)
        numbers = components[tuple(apart[order].T)]
        owner[numbers], voxel[numbers] = finding[nearest[order]], apart[order]

    gone = np.zeros(count + 1, bool)
    if judged:
        volumes = np.bincount(components[components > 0], minlength=count + 1)
        gone[1:] = are_fragments(volumes[1:], owner[1:])
        gone[_most_frequent(finding[number > 0], number[number > 0])] = False
    if gone.any():
        gone &= _distances(components, gone, axes) <= _reach(axes)
        mask[window][gone[components]] = 0

    own = np.flatnonzero(finding == owner[number])[::-1]
    voxel[number[own]] = places[own]  # the first, which is the most probable
    kept = np.flatnonzero(~gone[1:]) + 1
    indices = map(tuple, (voxel[kept] + origin).tolist())
    return [(index, findings[one][1]) for index, one in zip(indices, owner[kept], strict=True)]


def _most_frequent(finding: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Return, for each finding, the component that it has the most places in."""
    step = number.max(initial=0) + 1
    pairs, hits = np.unique(finding * step + number, return_counts=True)
    last = dict(divmod(pair, step) for pair in pairs[np.argsort(hits, kind="stable")].tolist())
    return np.array(list(last.values()), int)


def _distances(components: np.ndarray, chosen: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return the distance in mm of each chosen component to those not chosen, and 0 for these."""
    distances = np.where(chosen, np.inf, 0.0)
    apart = np.argwhere(chosen[components])
    others = np.argwhere((components > 0) & ~chosen[components])
    nearest, _ = cKDTree(others @ axes.T).query(apart @ axes.T)
    np.minimum.at(distances, components[tuple(apart.T)], nearest)
    return distances


def _reach(axes: np.ndarray) -> float:
    return GAP_MM + float(np.linalg.norm(axes.sum(axis=1)))  # and a voxel's diagonal, for thick slices
