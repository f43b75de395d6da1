"""Which lesions readers differ on so much that a reviewer has to decide."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lib.evaluation.lesion_agreement import LesionAgreement


@dataclass(frozen=True)
class Disagreement:
    """A lesion that a reviewer has to decide on.

    Attributes:
        voxel: A voxel (column, row, slice) in the lesion.
        marked_by: Number of readers who marked it.
        readers: Number of readers of the image.
        lowest_dice: The smallest Dice of two of those who marked it; None if there is only one.
    """

    voxel: tuple[int, int, int]
    marked_by: int
    readers: int
    lowest_dice: float | None


def disagreements(lesions: Iterable[LesionAgreement], lowest_dice: float) -> list[Disagreement]:
    """Return the lesions that a reader missed, or that two readers outlined too differently.

    Args:
        lesions: Lesions of one image.
        lowest_dice: Smallest Dice of two readers that is no disagreement.
    """
    return [one for one in map(_compared, lesions) if _differs(one, lowest_dice)]


def _compared(lesion: LesionAgreement) -> Disagreement:
    return Disagreement(
        voxel=lesion.voxel,
        marked_by=len(lesion.volumes_mm3),
        readers=len(lesion.readers),
        lowest_dice=min((pair.dice for pair in lesion.pairs), default=None),
    )


def _differs(one: Disagreement, lowest_dice: float) -> bool:
    return one.marked_by < one.readers or (one.lowest_dice is not None and one.lowest_dice < lowest_dice)
