"""Samples to train the second stage on: the candidates of the segmentation network in whole scans."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Activationsd, Compose

from lib.inference import Predictor
from lib.inference.candidate_cubes import SIDE, CandidateCubes, candidate_cubes
from lib.storage.atomic import write_atomically
from lib.transforms.candidate_pieces import JoinedCandidates
from lib.transforms.candidates import Candidates
from lib.transforms.lung_neighbourhood import DropFarFromLungsd
from lib.transforms.postprocessing import REACH_MM

logger = logging.getLogger(__name__)

JITTER = 4  # voxels by which the stored cubes are larger than the classifier's, for random shifts
_LESION_SHARE = 0.3  # of a candidate's voxels that are lesion
_NEAR_MM = 5.0  # from a voxel of a rejected finding to the candidate that is meant


@dataclass(frozen=True)
class Ball:
    """Region of a scan with unlabelled tumour, of which no candidate is used.

    Attributes:
        voxel: Centre, (column, row, slice) of the stored volume.
        radius_mm: Radius.
    """

    voxel: tuple[float, ...]
    radius_mm: float


@dataclass(frozen=True)
class CandidateSamples:
    """Labelled candidates of one scan.

    Attributes:
        cubes: Input of the classifier, in cubes larger by ``JITTER``.
        lesion: Whether each candidate is a lesion, bool, (N,).
        lesions: Number of lesions of the scan.
        found: Number of them with a candidate.
        composed: Whether the scan is a copy with inserted nodules, of which only lesions are kept.
        rejected: Whether a reader rejected each candidate explicitly, bool, (N,); None if unknown.
        judged: Whether candidates are judged at all in this image; not in a crop, which has none.
    """

    cubes: CandidateCubes
    lesion: torch.Tensor
    lesions: int
    found: int
    composed: bool = False
    rejected: torch.Tensor | None = None
    judged: bool = True

    def of_copy(self) -> CandidateSamples:
        """Return the samples of a copy with inserted nodules: its lesions; the others are the scan's own."""
        lesion = self.lesion
        return CandidateSamples(_chosen(self.cubes, lesion), lesion[lesion], self.lesions, self.found, composed=True)


def candidate_samples(
    predictor: Predictor,
    image: Path,
    mask: Path | None,
    *,
    ignored: Sequence[Ball] = (),
    unlabelled: Collection[int] = (),
    rejected: Sequence[Sequence[float]] = (),
) -> CandidateSamples:
    """Run the network on a whole scan, and label its candidates by the mask.

    A candidate is a lesion if at least 30 % of its voxels are; without any, it is none. Others are left out. The pieces
    of a lesion are one candidate, as they are when it is judged. A crop, in which nothing is judged, has no candidates.

    Args:
        predictor: Network that was not trained on this patient.
        image: Volume.
        mask: Lesions on the same grid, or None without lesions.
        ignored: Regions with unlabelled tumour.
        unlabelled: Slices with unlabelled tumour.
        rejected: Voxels of findings that a reader rejected, (column, row, slice) of the stored volume.
    """
    options = predictor.model.options
    data = predictor.read({"image": image, "label": mask} if mask else {"image": image}, options)
    data["pred"] = predictor.run(data, options).logits
    data = Compose(
        [
            Activationsd(keys="pred", sigmoid=True),
            DropFarFromLungsd(keys="pred", image_key="image", threshold=options.threshold, reach_mm=REACH_MM),
        ]
    )(data)
    probability = torch.as_tensor(data["pred"])[0].numpy()
    candidates = Candidates.of(probability, options.threshold, data["image"].affine)
    candidates = JoinedCandidates.of(candidates.without(candidates.diameters_mm < options.min_diameter_mm)).candidates
    truth = np.asarray(data["label"][0]) >= 0.5 if mask else np.zeros(probability.shape, bool)
    share = candidates.shares(truth[candidates.window])
    judged = data["lungs"] is not None
    usable = (
        judged & ((share == 0) | (share >= _LESION_SHARE)) & ~_unknown(candidates, data["image"], ignored, unlabelled)
    )
    cubes = candidate_cubes(data["image"], candidates, SIDE + JITTER)
    chosen = torch.from_numpy(np.flatnonzero(usable))
    lesions = Candidates.of(truth.astype(np.float32), 0.5, data["image"].affine)
    found = lesions.shares(probability[lesions.window] >= options.threshold) > 0
    return CandidateSamples(
        _chosen(cubes, chosen),
        torch.from_numpy(share >= _LESION_SHARE)[chosen],
        lesions.count,
        int(found.sum()),
        rejected=torch.from_numpy(_near_voxels(candidates, data["image"], rejected) & (share == 0))[chosen],
        judged=judged,
    )


def save_samples(samples: CandidateSamples, path: Path) -> None:
    """Write samples to a file, the cubes in half precision."""
    content: dict[str, Any] = {
        "fine": samples.cubes.fine.half(),
        "coarse": samples.cubes.coarse.half(),
        "features": samples.cubes.features,
        "lesion": samples.lesion,
        "lesions": samples.lesions,
        "found": samples.found,
        "composed": samples.composed,
    }
    write_atomically(path, lambda draft: torch.save(content, draft))


def load_samples(path: Path) -> CandidateSamples:
    """Read the file of `save_samples`; the cubes stay in half precision."""
    content = torch.load(path, weights_only=True)
    cubes = CandidateCubes(content["fine"], content["coarse"], content["features"])
    return CandidateSamples(cubes, content["lesion"], content["lesions"], content["found"], content["composed"])


def _chosen(cubes: CandidateCubes, index: torch.Tensor) -> CandidateCubes:
    return CandidateCubes(*(getattr(cubes, field.name)[index] for field in fields(cubes)))


def _unknown(candidates: Candidates, image: Any, ignored: Sequence[Ball], unlabelled: Collection[int]) -> np.ndarray:
    """Return which candidates may be unlabelled tumour, bool, (N,)."""
    unknown = np.isin(np.rint(candidates.centres[:, 2]).astype(int), list(unlabelled))
    places = _moved(image.affine, candidates.centres)
    for ball in ignored:
        centre = _moved(image.meta["original_affine"], np.array([ball.voxel]))
        unknown |= np.linalg.norm(places - centre, axis=1) <= ball.radius_mm
    return unknown


def _near_voxels(candidates: Candidates, image: Any, voxels: Sequence[Sequence[float]]) -> np.ndarray:
    """Return which candidates have a voxel within 5 mm of one of the voxels of the stored volume, bool, (N,)."""
    near = np.zeros(candidates.count, bool)
    if not len(voxels) or not candidates.count:
        return near
    inside = np.argwhere(candidates.components)
    numbers = candidates.components[tuple(inside.T)] - 1
    places = _moved(image.affine, inside + [cut.start for cut in candidates.window])
    for place in _moved(image.meta["original_affine"], np.array(voxels, float)):
        near[numbers[np.linalg.norm(places - place, axis=1) <= _NEAR_MM]] = True
    return near


def _moved(affine: Any, indices: np.ndarray) -> np.ndarray:
    """Return the places in mm of voxel indices, (n, 3)."""
    matrix = np.asarray(affine, float)
    return indices @ matrix[:3, :3].T + matrix[:3, 3]
