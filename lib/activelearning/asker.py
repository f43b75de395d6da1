"""Who asks for the next image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_ASKER = "asker"  # in a request; set by the server


@dataclass(frozen=True)
class Asker:
    """Somebody who asks for the next image.

    Attributes:
        user: Name of the user.
        address: Address of the client.
        reviews: Whether the user may review labels of others.
        session: Log-in session of the request; empty without one.
    """

    user: str = ""
    address: str = ""
    reviews: bool = False
    session: str = field(default="", repr=False)

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Asker:
        """Return who sent a request; nobody in particular if that is not known."""
        asker = request.get(_ASKER)
        return asker if isinstance(asker, Asker) else cls()

    def named_in(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request with who sent it."""
        return {**request, _ASKER: self}
