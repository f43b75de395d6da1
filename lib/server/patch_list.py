"""The list of changes that :mod:`lib.server.upstream_patches` makes to other packages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Patch:
    """One change to the inside of another package.

    Attributes:
        name: Function that makes it.
        reason: Why it is needed.
        package: Distribution that is changed.
        version: Version that the change was written for.
        targets: Upstream code it relies on, as ``module:name``, or ``module`` for a whole module.
    """

    name: str
    reason: str
    package: str
    version: str
    targets: tuple[str, ...]


PATCHES: list[Patch] = []


def patch(package: str, version: str, *targets: str, reason: str) -> Callable[[_Function], _Function]:
    """Return a decorator that lists a function in `PATCHES`."""

    def listed(function: _Function) -> _Function:
        PATCHES.append(Patch(function.__name__, reason, package, version, targets))
        return function

    return listed
