"""Name and role of a user from the claims of an identity provider."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from lib.errors import UserError
from lib.identity.roles import Role

_LONGEST_NAME = 64


@dataclass(frozen=True)
class ClaimRules:
    """Where a provider says who somebody is and what they may do.

    Attributes:
        name_claim: Path of the claim with the unique name, such as ``preferred_username``.
        role_claim: Path of the claim with roles or groups, such as ``realm_access.roles`` or ``groups``.
        roles: Role of each value of that claim; other values are ignored.
    """

    name_claim: str
    role_claim: str
    roles: Mapping[str, Role]

    def are_in(self, claims: Mapping[str, Any]) -> bool:
        """Return whether the claims have both a name and roles."""
        return all(claim_at(claims, path) is not None for path in (self.name_claim, self.role_claim))

    def name(self, claims: Mapping[str, Any]) -> str:
        """Return the name of the user.

        Raises:
            UserError: There is none, or it cannot be used (403).
        """
        name = claim_at(claims, self.name_claim)
        name = unicodedata.normalize("NFC", name).strip() if isinstance(name, str) else ""
        if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable() or set(name) & {"/", "\\"}:
            raise _refused(
                f"The identity provider sends no usable name in the claim {self.name_claim!r} (oidc_name_claim): a "
                f"text of 1 to {_LONGEST_NAME} printable characters without slashes."
            )
        if self.name_claim == "email" and claims.get("email_verified") is False:
            raise _refused(f"The identity provider has not verified the address {name}.")
        return name

    def role(self, claims: Mapping[str, Any]) -> Role:
        """Return the highest role of the user.

        Raises:
            UserError: The user has none (403).
        """
        found = [self.roles[value] for value in _texts(claim_at(claims, self.role_claim)) if value in self.roles]
        if not found:
            raise _refused(
                f"{self.name(claims)} has no role here. An administrator of the identity provider can add one of "
                f"{', '.join(self.roles)} to the claim {self.role_claim!r}."
            )
        return max(found)


def claim_at(claims: Mapping[str, Any], path: str) -> Any:
    r"""Return the claim at a path such as ``realm_access.roles``; None if there is none.

    A claim whose own name has dots, such as the URL that some providers use, is found as well. A dot that is part of
    a name inside a path is written as ``\.``: ``resource_access.lung\\.label.roles``.
    """
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.replace("\\.", "\0").split("."):
        found = found.get(name.replace("\0", ".")) if isinstance(found, Mapping) else None
    return found


def _texts(value: Any) -> Iterable[str]:
    """Return the texts of a claim: a list, or one text with words."""
    if isinstance(value, str):
        return {value, *value.split()}
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _refused(message: str) -> UserError:
    return UserError(message, HTTPStatus.FORBIDDEN)
