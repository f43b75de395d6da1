"""Values that strict JSON (RFC 8259) can represent: no NaN, no infinity, no text that UTF-8 cannot encode."""

from __future__ import annotations

import json
import math
from typing import Any


def finite(value: Any) -> Any:
    """Return a copy with None for NaN and infinity, and with ``?`` for lone surrogates.

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
    """Raise an error if a parsed JSON value cannot be serialised as strict JSON; Python's parser accepts more.

    Raises:
        ValueError: The value has NaN, infinity or a lone surrogate, or is nested too deeply.
    """
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
