"""Input of the candidate classifier: cubes around each candidate at two scales, and measurements of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from monai.utils import convert_to_tensor

from lib.transforms.candidates import Candidates

SIDE = 20  # voxels of a cube
FINE_MM = 1.5  # distance of its voxels: the cube shows 30 mm
COARSE_MM = 4.5  # the cube shows 90 mm
CHANNELS = (3, 2)  # of the fine and of the coarse cube
FEATURES = 5
_LEAST_LOGIT = 1e-6


@dataclass(frozen=True)
class CandidateCubes:
    """Input of the classifier for some candidates.

    Attributes:
        fine: Image, probability of tumour, and mask of the candidate itself, (B, 3, n, n, n).
        coarse: Image and probability of tumour, smoothed, (B, 2, n, n, n).
        features: Measurements, (B, ``FEATURES``): logarithm of the volume in mm³, logits of the median and of the
            highest probability, logarithm of the elongation, and distance of the slices in mm.
    """

    fine: torch.Tensor
    coarse: torch.Tensor
    features: torch.Tensor

    def __len__(self) -> int:
        return len(self.features)


def candidate_cubes(image: torch.Tensor, candidates: Candidates, side: int = SIDE) -> CandidateCubes:
    """Return the classifier's input for all candidates of a volume; see `cubes_in_batches`."""
    (cubes,) = cubes_in_batches(image, candidates, max(1, candidates.count), side)
    return cubes


def cubes_in_batches(
    image: torch.Tensor, candidates: Candidates, at_once: int, side: int = SIDE
) -> Iterator[CandidateCubes]:
    """Yield the classifier's input for a few candidates of a volume at a time; there may be thousands.

    At the default side, that of one candidate takes up 0.2 MB, and 0.6 MB while it is made.

    Args:
        image: Input of the segmentation network, (1, X, Y, Z), normalised; outside it, air is assumed.
        candidates: Candidates in the same field.
        at_once: Most candidates of a batch.
        side: Voxels along each side of the cubes.
    """
    spacing = np.linalg.norm(candidates.axes, axis=0)
    volume = convert_to_tensor(image, track_meta=False)[0].float()
    probability = torch.from_numpy(np.ascontiguousarray(candidates.probability, np.float32))
    air = volume.min()
    both = torch.stack([volume - air, probability])
    steps = [max(1, round(COARSE_MM / 2 / length)) for length in spacing]
    smooth = F.avg_pool3d(both[None], steps, ceil_mode=True, count_include_pad=False)[0]
    features = _features(candidates, spacing)
    for start in range(0, max(1, candidates.count), at_once):
        part = slice(start, start + at_once)
        centres = candidates.centres[part]
        fine = _cubes(both, centres, FINE_MM / spacing, side)
        coarse = _cubes(smooth, (centres + 0.5) / steps - 0.5, COARSE_MM / spacing / steps, side)
        fine[:, 0] += air
        coarse[:, 0] += air
        own = _own_masks(candidates, part, FINE_MM / spacing, side)
        yield CandidateCubes(torch.cat([fine, own], dim=1), coarse, features[part])


def _features(candidates: Candidates, spacing: np.ndarray) -> torch.Tensor:
    peaks = candidates.probability[tuple(candidates.peaks.T)]
    values = [
        np.log(candidates.volumes_mm3),
        _logit(candidates.medians),
        _logit(peaks),
        np.log(candidates.elongations),
        np.full(candidates.count, spacing[2]),
    ]
    return torch.from_numpy(np.stack(values, axis=1).astype(np.float32))


def _logit(probability: np.ndarray) -> np.ndarray:
    inside = np.clip(probability.astype(float), _LEAST_LOGIT, 1 - _LEAST_LOGIT)
    return np.log(inside / (1 - inside))


def _places(centres: np.ndarray, step: np.ndarray, side: int) -> torch.Tensor:
    """Return the voxel indices that the cubes show, (N, side, side, side, 3)."""
    along = np.arange(side) - (side - 1) / 2
    offsets = np.stack(np.meshgrid(*(along * length for length in step), indexing="ij"), axis=-1)
    return torch.from_numpy((centres[:, None, None, None] + offsets).astype(np.float32))


def _cubes(volume: torch.Tensor, centres: np.ndarray, step: np.ndarray, side: int) -> torch.Tensor:
    """Sample cubes (N, C, side, side, side) of a volume (C, X, Y, Z) linearly; 0 outside it."""
    places = _places(centres, step, side)
    # grid_sample wants the last axis first, and -1 to 1 from the first to the last voxel.
    lengths = torch.tensor(volume.shape[1:])
    grid = (2 * places / (lengths - 1).clamp(min=1) - 1).flip(-1).reshape(1, -1, side, side, 3)
    sampled = F.grid_sample(volume[None], grid, mode="bilinear", padding_mode="zeros", align_corners=True)[0]
    return sampled.reshape(len(volume), -1, side, side, side).transpose(0, 1)


def _own_masks(candidates: Candidates, part: slice, step: np.ndarray, side: int) -> torch.Tensor:
    """Return the mask of each candidate of a part in its cube, nearest voxel, (N, 1, side, side, side)."""
    origin = torch.tensor([cut.start for cut in candidates.window])
    places = _places(candidates.centres[part], step, side).round().long() - origin
    lengths = torch.tensor(candidates.components.shape)
    inside = ((places >= 0) & (places < lengths)).all(-1)
    index = places.clamp(min=0).minimum(lengths - 1).numpy()
    numbers = torch.from_numpy(candidates.components[tuple(np.moveaxis(index, -1, 0))])
    own = numbers == torch.arange(1, candidates.count + 1)[part, None, None, None]
    return (own & inside)[:, None].float()
