"""What a worker loads once for many tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Loaded = TypeVar("Loaded")

_MOST = 3  # in a process
_LOADED: dict[str, Any] = {}  # by key; the oldest first


def loaded_once(key: str, load: Callable[[], Loaded]) -> Loaded:
    """Return what this process has loaded under a key, after loading it if it is not there; the last three are kept."""
    if key not in _LOADED:
        while len(_LOADED) >= _MOST:
            _LOADED.pop(next(iter(_LOADED)))
        _LOADED[key] = load()
    return _LOADED[key]
