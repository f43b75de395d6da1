"""Which lesion of an earlier study is which of the current one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import distance

from lib.followup.registration import Registration

# Rigid registration leaves what breathing moves: most landmarks in the lungs are off by less.
FARTHEST_MM = 15.0
_APART = 1e6  # mm, for lesions that are none of a pair


@dataclass(frozen=True)
class PlacedLesion:
    """A lesion of one study.

    Attributes:
        number: Of the lesion in its series.
        centre: Centre of mass, LPS mm of its series.
        volume_mm3: Its volume.
        uid: Tracking UID; empty if it has none yet.
    """

    number: int
    centre: tuple[float, float, float]
    volume_mm3: float
    uid: str = ""


def match_lesions(
    current: Sequence[PlacedLesion], former: Sequence[PlacedLesion], registration: Registration
) -> dict[int, PlacedLesion]:
    """Return the former lesion of each current one that has one, by the number of the current lesion.

    Lesions with one tracking UID are one lesion wherever they are. Of the others, pairs whose centres are at most 15 mm
    apart after registration are chosen so that there are as many as possible and their distances are small in sum; no
    lesion is in two pairs.
    """
    by_uid = {one.uid: one for one in former if one.uid}
    pairs = {one.number: by_uid[one.uid] for one in current if one.uid in by_uid}
    taken = {id(one) for one in pairs.values()}
    left = [one for one in current if one.number not in pairs]
    free = [one for one in former if id(one) not in taken]
    if not left or not free:
        return pairs
    moved = registration.to_other(np.array([one.centre for one in left]))
    apart = distance.cdist(moved, np.array([one.centre for one in free]))
    apart[apart > FARTHEST_MM] = _APART
    for place, other in zip(*linear_sum_assignment(apart), strict=True):
        if apart[place, other] <= FARTHEST_MM:
            pairs[left[place].number] = free[other]
    return pairs
