"""How a label was read: time and actions, which the viewer counts and sends with it.

As JSON it is ``{"opened": "2026-03-01T09:00:00.000Z", "submitted": "2026-03-01T09:04:10.000Z", "active_seconds": 181.5,
"pause_seconds": 60, "clicks": 3, "strokes": 12, "undos": 1}``: when the case was opened and its label submitted, in
ISO 8601 with a time zone; the time between them without pauses, which are times without any action that are longer
than ``pause_seconds``; and the numbers of clicks that the model for clicks answered, of strokes with a drawing tool,
and of changes taken back.
"""

from __future__ import annotations

from datetime import datetime

_TIMES = ("opened", "submitted")
_SECONDS = ("active_seconds", "pause_seconds")
COUNTS = ("clicks", "strokes", "undos")
_HIGHEST = 10**6
_LONGEST_TIME = 40  # characters
_ROUNDING_SECONDS = 1.0


def is_reading(value: object) -> bool:
    """Return whether a value of a request says how a label was read."""
    if not isinstance(value, dict) or value.keys() != {*_TIMES, *_SECONDS, *COUNTS}:
        return False
    opened, submitted = (_time(value[name]) for name in _TIMES)
    if opened is None or submitted is None or not all(_is_number(value[name]) for name in _SECONDS):
        return False
    if not all(type(value[name]) is int and 0 <= value[name] <= _HIGHEST for name in COUNTS):
        return False
    return bool(value["active_seconds"] <= (submitted - opened).total_seconds() + _ROUNDING_SECONDS)


def _time(value: object) -> datetime | None:
    if not isinstance(value, str) or len(value) > _LONGEST_TIME:
        return None
    try:
        time = datetime.fromisoformat(value.replace("Z", "+00:00"))  # Python 3.10 does not know Z
    except ValueError:
        return None
    return time if time.tzinfo else None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _HIGHEST
