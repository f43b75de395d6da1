"""Models in workers of a cluster, which load each once for many tasks."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Model = TypeVar("Model")

_MOST = 3  # models in a process
_LOADED: dict[str, Any] = {}  # by key; the oldest first


@dataclass(frozen=True)
class WorkerModel(Generic[Model]):
    """A model as it is sent to workers.

    Attributes:
        make: Returns its predictor, which loads the weights when it first runs; the workers see their file.
        key: Another one for each ``make``; by default, another one for each instance.
    """

    make: Callable[[], Model]
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    def predictor(self) -> Model:
        """Return the predictor of this process."""
        if self.key not in _LOADED:
            while len(_LOADED) >= _MOST:
                _LOADED.pop(next(iter(_LOADED)))
            _LOADED[self.key] = self.make()
        return _LOADED[self.key]
