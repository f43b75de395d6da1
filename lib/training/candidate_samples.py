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
from lib.transforms.candidates import Candidates
from lib.transforms.lung_neighbourhood import DropFarFromLungsd
from lib.transforms.postprocessing import REACH_MM

logger = logging.getLogger(__name__)

JITTER = 4  # voxels by which the stored cubes are larger than the classifier's, for random shifts
_LESION_SHARE = 0.3  # of a candidate's voxels that are lesion


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
    """

    cubes: CandidateCubes
    lesion: torch.Tensor
    lesions: int
    found: int
    composed: bool = False

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
) -> CandidateSamples:
    """Run the network on a whole scan, and label its candidates by the mask.

    A candidate is a lesion if at least 30 % of its voxels are; without any, it is none. Others are left out.

    Args:
        predictor: Network that was not trained on this patient.
        image: Volume.
        mask: Lesions on the same grid, or None without lesions.
        ignored: Regions with unlabelled tumour.
        unlabelled: Slices with unlabelled tumour.
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
    candidates = candidates.without(candidates.diameters_mm < options.min_diameter_mm)
    truth = np.asarray(data["label"][0]) >= 0.5 if mask else np.zeros(probability.shape, bool)
    share = candidates.shares(truth[candidates.window])
    usable = ((share == 0) | (share >= _LESION_SHARE)) & ~_unknown(candidates, data["image"], ignored, unlabelled)
    cubes = candidate_cubes(data["image"], candidates, SIDE + JITTER)
    chosen = torch.from_numpy(np.flatnonzero(usable))
    lesions = Candidates.of(truth.astype(np.float32), 0.5, data["image"].affine)
    found = lesions.shares(probability[lesions.window] >= options.threshold) > 0
    return CandidateSamples(
        _chosen(cubes, chosen),
        torch.from_numpy(share >= _LESION_SHARE)[chosen],
        lesions.count,
        int(found.sum()),
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
    affine = np.asarray(image.affine, float)
    places = candidates.centres @ affine[:3, :3].T + affine[:3, 3]
    stored = np.asarray(image.meta["original_affine"], float)
    for ball in ignored:
        centre = stored[:3, :3] @ ball.voxel + stored[:3, 3]
        unknown |= np.linalg.norm(places - centre, axis=1) <= ball.radius_mm
    return unknown
