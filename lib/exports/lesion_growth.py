"""Columns of the lesion table on the growth of each lesion since an earlier study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lib.exports.lesion_table import MeasuredLesion
from lib.followup.former_lesions import FormerLesion
from lib.followup.lesion_matching import PlacedLesion


def placed_lesion(lesion: MeasuredLesion) -> PlacedLesion:
    """Return a row of the table as a lesion that can be matched."""
    centre = (lesion.x_mm, lesion.y_mm, lesion.z_mm)
    return PlacedLesion(lesion.number, centre, lesion.volume_mm3, lesion.tracking_uid)


def with_growth(lesions: Sequence[MeasuredLesion], former: Mapping[int, FormerLesion]) -> list[MeasuredLesion]:
    """Return the rows with the columns on growth.

    Args:
        lesions: Rows.
        former: What the lesions were in an earlier study, by number.
    """
    return [_with(lesion, former[lesion.number]) if lesion.number in former else lesion for lesion in lesions]


def _with(lesion: MeasuredLesion, former: FormerLesion) -> MeasuredLesion:
    growth = former.growth
    return replace(
        lesion,
        former_date=former.date.strftime("%Y%m%d"),
        former_volume_mm3=round(former.volume_mm3, 2),
        volume_change_percent=round(growth.change_percent, 1),
        volume_change=growth.change.value,
        doubling_time_days=_rounded(growth.doubling_days),
        doubling_time_shortest_days=_rounded(growth.shortest_days),
        doubling_time_longest_days=_rounded(growth.longest_days),
    )


def _rounded(days: float | None) -> float | None:
    return None if days is None else round(days, 1)
