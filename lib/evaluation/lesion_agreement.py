"""Agreement of the readers of one image on each of its lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from lib.evaluation.fleiss_kappa import RatingCounts, count_voxels
from lib.evaluation.metrics import VoxelCounts, sphere_diameter
from lib.evaluation.reader_lesions import ReaderLesion, match_reader_lesions
from lib.evaluation.surface_distance import surface_distance
from lib.evaluation.textures import Texture, texture_of
from lib.geometry.voxel_grid import VoxelGrid

TimedVoxel = tuple[tuple[int, int, int], float]
"""A voxel (column, row, slice) in a lesion, and the seconds that a reader worked on it."""
RatedVoxel = tuple[tuple[int, int, int], int]
"""A voxel (column, row, slice) in a lesion, and the rating of its texture, 1 to 5."""


@dataclass(frozen=True)
class PairAgreement:
    """Two readers who both marked a lesion, compared.

    Attributes:
        first: One reader.
        second: The other.
        dice: Dice of their outlines of the lesion.
        surface_mm: Mean distance between their surfaces in mm.
        hausdorff_95_mm: 95th percentile of the distances between their surfaces in mm.
    """

    first: str
    second: str
    dice: float
    surface_mm: float
    hausdorff_95_mm: float


@dataclass(frozen=True)
class LesionAgreement:
    """What the readers of an image agree on in one of its lesions.

    Attributes:
        case: The image.
        patient: Its patient.
        number: Number of the lesion in the image, from 1.
        voxel: A voxel (column, row, slice) that most of the readers who marked the lesion have.
        readers: All readers of the image.
        volumes_mm3: Volume in mm³ by reader, of those who marked it.
        diameter_mm: Diameter of a sphere with the mean of these volumes in mm.
        texture: By the ratings of the readers; None if nobody gave one.
        pairs: Each two readers who both marked it.
        voxels: Ratings of the voxels of its bounding box, for Fleiss' kappa.
        seconds: Time that each reader worked on it, of those of whom it is known, also if they rejected it.
    """

    case: str
    patient: str
    number: int
    voxel: tuple[int, int, int]
    readers: tuple[str, ...]
    volumes_mm3: Mapping[str, float]
    diameter_mm: float
    texture: Texture | None
    pairs: tuple[PairAgreement, ...]
    voxels: RatingCounts
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def detection(self) -> float:
        """Share of the readers who marked the lesion."""
        return len(self.volumes_mm3) / len(self.readers)

    def mean_of_pairs(self, measure: str) -> float | None:
        """Return the mean over the pairs of one of their measures; None if fewer than two readers marked the lesion."""
        return float(np.mean([getattr(pair, measure) for pair in self.pairs])) if self.pairs else None


def agreement_on_lesions(
    case: str,
    patient: str,
    masks: Mapping[str, np.ndarray],
    grid: VoxelGrid,
    ratings: Mapping[str, Sequence[RatedVoxel]] | None = None,
    seconds: Mapping[str, Sequence[TimedVoxel]] | None = None,
) -> list[LesionAgreement]:
    """Compare the outlines of the readers of one image, lesion by lesion.

    Args:
        case: The image.
        patient: Its patient.
        masks: Mask by reader, shape (X, Y, Z), on the same grid; two or more readers. A reader who found nothing has an
            empty one.
        grid: Their grid.
        ratings: Ratings of textures by reader.
        seconds: Times by reader.

    Raises:
        ValueError: There are fewer than two readers, or the masks are not on the same grid.
    """
    if len(masks) < 2:
        raise ValueError(f"The agreement on {case} needs two or more readers, not {len(masks)}.")
    rated = [one for given in (ratings or {}).values() for one in given]
    return [
        replace(
            _agreement(case, patient, number, lesion, tuple(masks), grid, rated),
            seconds=_seconds(lesion, seconds or {}),
        )
        for number, lesion in enumerate(match_reader_lesions([*masks.values()]), start=1)
    ]


def _agreement(
    case: str,
    patient: str,
    number: int,
    lesion: ReaderLesion,
    readers: tuple[str, ...],
    grid: VoxelGrid,
    rated: Sequence[RatedVoxel],
) -> LesionAgreement:
    marked = [(reader, mask) for reader, mask in zip(readers, lesion.masks, strict=True) if mask.any()]
    volumes = {reader: float(mask.sum() * grid.voxel_mm3) for reader, mask in marked}
    textures = [rating for voxel, rating in rated if lesion.contains(voxel)]
    return LesionAgreement(
        case=case,
        patient=patient,
        number=number,
        voxel=_most_marked_voxel(lesion),
        readers=readers,
        volumes_mm3=volumes,
        diameter_mm=sphere_diameter(float(np.mean([*volumes.values()]))),
        texture=texture_of(textures) if textures else None,
        pairs=tuple(_pair(*pair, grid.spacing) for pair in combinations(marked, 2)),
        voxels=count_voxels(lesion.masks),
    )


def _seconds(lesion: ReaderLesion, timed: Mapping[str, Sequence[TimedVoxel]]) -> dict[str, float]:
    inside = {reader: [spent for voxel, spent in of if lesion.contains(voxel)] for reader, of in timed.items()}
    return {reader: sum(spent) for reader, spent in inside.items() if spent}


def _pair(one: tuple[str, np.ndarray], other: tuple[str, np.ndarray], spacing: Sequence[float]) -> PairAgreement:
    distance = surface_distance(one[1], other[1], spacing)
    dice = VoxelCounts.of(one[1], other[1]).dice
    return PairAgreement(one[0], other[0], dice, distance.mean_mm, distance.hausdorff_95_mm)


def _most_marked_voxel(lesion: ReaderLesion) -> tuple[int, int, int]:
    votes = lesion.masks.sum(axis=0)
    x, y, z = (int(place) for place in np.unravel_index(votes.argmax(), votes.shape))
    return lesion.window[0].start + x, lesion.window[1].start + y, lesion.window[2].start + z
