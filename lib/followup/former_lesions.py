"""The lesions of an earlier study beside those of the current one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from lib.followup.doubling_time import Growth, growth
from lib.followup.lesion_matching import PlacedLesion, match_lesions
from lib.followup.registration import Registration


@dataclass(frozen=True)
class FormerLesion:
    """What a lesion was in an earlier study.

    Attributes:
        date: Of that study.
        number: Of the lesion in the label of that study.
        volume_mm3: Its volume then.
        growth: Since then.
    """

    date: date
    number: int
    volume_mm3: float
    growth: Growth


def former_lesions(
    current: Sequence[PlacedLesion],
    former: Sequence[PlacedLesion],
    registration: Registration,
    when: date,
    days: int,
) -> dict[int, FormerLesion]:
    """Return what each lesion was in an earlier study, by its number; those without a counterpart are left out.

    Args:
        current: Lesions of the current study.
        former: Lesions of the earlier study.
        registration: Of the current study to the earlier one.
        when: Date of the earlier study.
        days: From the earlier study to the current one.
    """
    volumes = {one.number: one.volume_mm3 for one in current}
    return {
        number: FormerLesion(when, one.number, one.volume_mm3, growth(one.volume_mm3, volumes[number], days))
        for number, one in match_lesions(current, former, registration).items()
    }
