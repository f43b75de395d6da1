"""When work that nobody waits for is done: never, always, or during some hours of the day."""

from __future__ import annotations

import re

NEVER, IDLE = "never", "idle"
_HOURS = re.compile(r"([01]?\d|2[0-3])-([01]?\d|2[0-4])")


def checked_hours(text: str) -> str:
    """Return a value of the setting; raise a ValueError if it is invalid.

    Example:
        >>> checked_hours("20-6")
        '20-6'
    """
    found = _HOURS.fullmatch(text)
    if text not in (NEVER, IDLE) and (found is None or int(found[1]) == int(found[2])):
        raise ValueError(f"must be never, idle, or hours of the day such as 20-6, not {text!r}")
    return text


def is_within(hours: str, hour: int) -> bool:
    """Return whether the work is done in an hour of the day.

    Args:
        hours: A value of the setting.
        hour: 0 to 23.

    Example:
        >>> [hour for hour in range(24) if is_within("22-2", hour)]
        [0, 1, 22, 23]
    """
    if hours in (NEVER, IDLE):
        return hours == IDLE
    first, end = map(int, hours.split("-"))
    return first <= hour < end if first < end else hour >= first or hour < end
