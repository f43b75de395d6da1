"""Values that are in every JSON (RFC 8259): neither NaN nor infinite, and text that UTF-8 can write."""

from __future__ import annotations

import json
import math
from typing import Any


def finite(value: Any) -> Any:
    """The same with null for numbers that JSON does not have, and with ``?`` for half characters.

    Example:
        >>> finite({"a": [float("nan"), 1.5], "b": "x"})
        {'a': [None, 1.5], 'b': 'x'}
    """
    if isinstance(value, dict):
        return {finite(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def check_sendable(value: Any) -> None:
    """Raise a ValueError where a parsed JSON value could not be sent as JSON again: Python reads more than it is."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
