"""Judgement of candidate lesions: those that are too small or unlikely are removed, the others get a confidence."""

import logging
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from lib.transforms.candidate_pieces import JoinedCandidates, are_fragments
from lib.transforms.candidates import Candidates
from lib.transforms.stored_grid import FieldFinding

logger = logging.getLogger(__name__)

Judge = Callable[[torch.Tensor, Candidates], np.ndarray]
"""Returns the confidence of each candidate, from the network's input (1, X, Y, Z)."""


class JudgeCandidatesd(MapTransform):
    """Set the probability of candidate lesions to 0 that are too small or probably not lesions.

    This happens in the network's field, because resampling to the stored grid changes small candidates. Removals are
    logged. If no lungs were found, only the size counts: in a crop, a user has selected the finding.

    Components with a narrow gap between them are judged as one candidate, and those of a candidate that is kept are
    connected where the network found a lesion possible; see `JoinedCandidates`. What remains apart and is a fragment
    (see `are_fragments`) is judged alone. A fragment that was connected is too, and stays, but is a finding of its own
    only if it is likely by itself: resampling may part it again.

    Sets ``data["findings"]`` to the voxels of each finding, indices in the field (n, 3), the most probable first, with
    its confidence, None if it was not judged. The voxels of the image are freed; its geometry is kept.

    Args:
        keys: Probability of tumour in the network's field, shape (1, X, Y, D); changed in place.
        image_key: Input of the network, a MetaTensor of the same field.
        lungs_key: Lung mask of ``AxialFieldd``, or None.
        threshold: Smallest probability of a tumour voxel.
        min_diameter_mm: Smallest equivalent spherical diameter; 0 keeps all.
        judge: Gives the confidence of each candidate; None keeps all.
        min_confidence: Smallest confidence that is kept.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        image_key: str,
        lungs_key: str = "lungs",
        threshold: float,
        min_diameter_mm: float,
        judge: Judge | None = None,
        min_confidence: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.lungs_key = lungs_key
        self.threshold = threshold
        self.min_diameter_mm = min_diameter_mm
        self.judge = judge
        self.min_confidence = min_confidence

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Set the probability of the removed candidates to 0, in place, and record the findings."""
        d = dict(data)
        for key in self.key_iterator(d):
            probability = torch.as_tensor(d[key])[0].cpu()  # no copy on the CPU, where the logits are
            candidates = Candidates.of(probability.numpy(), self.threshold, d[self.image_key].affine)
            large = candidates.without(candidates.diameters_mm < self.min_diameter_mm)
            judge = None if d[self.lungs_key] is None else self.judge
            d["findings"], unlikely = self._judged(large, d[self.image_key], judge)
            d[key][0] = probability
            if removed := candidates.count - large.count + unlikely:
                logger.info("Removed %d of %d findings: too small or unlikely.", removed, candidates.count)
        d[self.image_key] = _without_voxels(d[self.image_key])
        return d

    def _judged(
        self, candidates: Candidates, image: torch.Tensor, judge: Judge | None
    ) -> tuple[list[FieldFinding], int]:
        """Return the findings, and the number of components that were removed."""
        if judge is None or not candidates.count:
            return [(voxels, None) for voxels in candidates.voxels], 0
        joined = JoinedCandidates.of(candidates)
        confidences = judge(image, joined.candidates)
        kept = confidences >= self.min_confidence
        joined.candidates.without(~kept)
        parts, owner = joined.connected(confidences, kept, self.threshold)
        confidences, fragments = confidences[owner], are_fragments(parts.volumes_mm3, owner)
        if fragments.any():
            confidences[fragments] = judge(image, parts.only(fragments))
        parts = parts.without(removed := fragments & (confidences < self.min_confidence))
        found, confidences = parts, confidences[~removed]
        connected, part = joined.fragments_in(parts)
        if connected.count:
            alone = np.minimum(judge(image, connected), confidences[part])
            likely = connected.only(alone >= self.min_confidence)
            numbers = np.where(likely.components, likely.components + parts.count, parts.components)
            found = replace(parts, components=numbers, count=parts.count + likely.count)
            confidences = np.concatenate([confidences, alone[alone >= self.min_confidence]])
        unlikely = np.count_nonzero(~kept[joined.owner]) + np.count_nonzero(removed)
        return list(zip(found.voxels, confidences.tolist(), strict=True)), unlikely


def _without_voxels(image: MetaTensor) -> MetaTensor:
    """Return a MetaTensor with geometry and trace of transforms only."""
    empty = torch.zeros(1, dtype=image.dtype).expand(image.shape)
    return MetaTensor(empty, meta=dict(image.meta), applied_operations=image.applied_operations)
