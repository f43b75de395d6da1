"""Growth of a lesion between two studies: change of its volume, volume doubling time, and whether both are certain.

Two measurements of a lesion that did not change differ by reader and by scan. Both are included, as coefficients of
variation by diameter (of the sphere of equal volume):

- Readers: root mean square over 774 nodules of LIDC-IDRI that three or more radiologists outlined on one scan.
- Scans: de Hoop et al., Eur Radiol 2009; 19:800-808, two scans of a patient on one day, the least repeatable of six
  programs: 95 % of the volumes differed by up to 25.6 % under 8 mm and by up to 17.1 % above.

Together, the smallest certain growth of the diameter is about 37 % under 6 mm, which is the 2 mm of the Fleischner
Society at 5.4 mm, and 25 % from 10 mm on, near the 20 % of RECIST.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

_NORMAL_95 = 1.96
_READERS = ((6.0, 0.33), (10.0, 0.25), (math.inf, 0.23))  # upper diameter in mm, coefficient of variation
_SCANS_95 = ((8.0, 0.256), (math.inf, 0.171))  # upper diameter in mm, difference of two measurements


class Change(Enum):
    """What is certain of the change of a lesion's volume."""

    GROWN = "grown"
    SHRUNK = "shrunk"
    NONE = "no change beyond measurement error"


@dataclass(frozen=True)
class Growth:
    """Growth of a lesion from an earlier study to the current one.

    Attributes:
        change_percent: Of the volume, of the earlier one.
        change: What is certain of it.
        doubling_days: Volume doubling time, days; None if the volume is not larger or the studies are of one day.
        shortest_days: Lower end of its 95 % interval; None if the lesion has certainly shrunk.
        longest_days: Upper end of its 95 % interval; None if the interval includes no growth.
    """

    change_percent: float
    change: Change
    doubling_days: float | None
    shortest_days: float | None
    longest_days: float | None


def growth(former_mm3: float, current_mm3: float, days: int) -> Growth:
    """Return the growth of a lesion.

    With volumes V1 and V2, ``ln(V2/V1)`` has the standard error ``sqrt(CV1² + CV2²)``; the volume doubling time is
    ``days · ln 2 / ln(V2/V1)`` (Schwartz, Cancer 1961; 14:1272), and the ends of its interval are those of the
    logarithm.

    Args:
        former_mm3: Volume in the earlier study; positive.
        current_mm3: Volume in the current study; positive.
        days: Between them; 0 on one day.
    """
    ratio = math.log(current_mm3 / former_mm3)
    error = _NORMAL_95 * math.hypot(variation(former_mm3), variation(current_mm3))
    change = Change.GROWN if ratio > error else Change.SHRUNK if ratio < -error else Change.NONE
    return Growth(
        100 * (current_mm3 / former_mm3 - 1),
        change,
        _doubling_days(ratio, days),
        _doubling_days(ratio + error, days),
        _doubling_days(ratio - error, days),
    )


def variation(volume_mm3: float) -> float:
    """Return the coefficient of variation of a measured volume; see above."""
    diameter = (6 * volume_mm3 / math.pi) ** (1 / 3)
    readers, scans = (next(value for end, value in table if diameter < end) for table in (_READERS, _SCANS_95))
    return math.hypot(readers, scans / (_NORMAL_95 * math.sqrt(2)))


def _doubling_days(ratio: float, days: int) -> float | None:
    return days * math.log(2) / ratio if ratio > 0 and days > 0 else None
