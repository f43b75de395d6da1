"""User names that a person cannot tell apart."""

from __future__ import annotations

import unicodedata


def folded(name: str) -> str:
    """Return a name in the form that is the same for all spellings which a person cannot tell apart."""
    return unicodedata.normalize("NFKC", name).casefold()


def is_same_user(one: str | None, other: str | None) -> bool:
    """Return whether two names are those of one user: directories that check passwords often ignore case.

    Example:
        >>> is_same_user("ada", "Ada")
        True
    """
    return one is not None and other is not None and folded(one) == folded(other)
