"""Registry of the patches that :mod:`lib.server.upstream_patches` applies to other packages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Patch:
    """A patch of the internals of another package.

    Attributes:
        name: Function that applies it.
        reason: Why it is needed.
        package: Patched distribution.
        version: Version that the patch was written for.
        targets: Upstream code that it relies on, as ``module:name``, or ``module`` for a whole module.
    """

    name: str
    reason: str
    package: str
    version: str
    targets: tuple[str, ...]


PATCHES: list[Patch] = []


def patch(package: str, version: str, *targets: str, reason: str) -> Callable[[_Function], _Function]:
    """Return a decorator that registers a function in `PATCHES`."""

    def listed(function: _Function) -> _Function:
        PATCHES.append(Patch(function.__name__, reason, package, version, targets))
        return function

    return listed
