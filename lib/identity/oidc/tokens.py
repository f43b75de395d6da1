"""Verification of ID tokens (OpenID Connect Core 1.0, section 3.1.3.7) and of JWT access tokens (RFC 9068)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

# Asymmetric signatures only: with HS256 the public key could be used as the secret of a forged token.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"),
    *("EdDSA", "Ed25519"),
)
_LEEWAY_SECONDS = 30
_ACCESS_TOKEN_TYPES = ("jwt", "at+jwt", "application/at+jwt")
_ONLY_IN_ID_TOKENS = ("nonce", "at_hash", "c_hash")
_LONGEST_TOKEN = 16_384  # characters


class InvalidToken(Exception):
    """Token that must not be accepted; the message says why, for the log."""


class UnknownKey(InvalidToken):
    """Token signed by a key that the provider has not published until now."""


def looks_like_jwt(token: object) -> bool:
    """Return whether a token has the three parts of a signed JWT."""
    return isinstance(token, str) and token.count(".") == 2 and len(token) <= _LONGEST_TOKEN


def verify_id_token(token: str, keys: KeySet, *, issuer: str, client_id: str, nonce: str | None) -> dict[str, Any]:
    """Return the claims of an ID token.

    Args:
        token: The token.
        keys: Keys of the provider.
        issuer: Expected ``iss``.
        client_id: Expected ``aud``, and ``azp`` if there is one.
        nonce: Expected nonce; None if none was sent.

    Raises:
        InvalidToken: It must not be accepted.
    """
    _, claims = _verified(token, keys, issuer)
    if client_id not in _audience(claims):
        raise InvalidToken("it is for another audience")
    if claims.get("azp", client_id) != client_id or ("azp" not in claims and len(_audience(claims)) > 1):
        raise InvalidToken("it was issued to another client")
    if nonce is not None and claims.get("nonce") != nonce:
        raise InvalidToken("its nonce is another one")
    return claims


def verify_access_token(token: str, keys: KeySet, *, issuer: str, client_id: str, audience: str) -> dict[str, Any]:
    """Return the claims of a JWT access token.

    Keycloak names the client in ``azp`` and, without a mapper, no usable audience in ``aud``; RFC 9068 has
    ``client_id`` and ``aud``. A token is accepted that is for this audience, or was issued to this client.

    Args:
        token: The token.
        keys: Keys of the provider.
        issuer: Expected ``iss``.
        client_id: Client of this server.
        audience: Accepted ``aud``.

    Raises:
        InvalidToken: It must not be accepted.
    """
    header, claims = _verified(token, keys, issuer)
    if str(header.get("typ", "jwt")).lower() not in _ACCESS_TOKEN_TYPES or claims.get("typ", "Bearer") != "Bearer":
        raise InvalidToken("it is no access token")
    if any(name in claims for name in _ONLY_IN_ID_TOKENS):
        raise InvalidToken("it is an ID token")
    if audience not in _audience(claims) and client_id not in (claims.get("azp"), claims.get("client_id")):
        raise InvalidToken("it is for another audience")
    return claims


def _verified(token: str, keys: KeySet, issuer: str) -> tuple[Mapping[str, Any], dict[str, Any]]:
    key_id = _key_id(token)
    found = [key for key in keys if key_id in (None, key.kid)]
    if not found:
        raise UnknownKey("the key of its signature is unknown")
    if len(found) > 1:
        raise InvalidToken("it does not say by which key it is signed")
    registry = jwt.JWTClaimsRegistry(
        leeway=_LEEWAY_SECONDS,
        iss={"essential": True, "value": issuer},
        sub={"essential": True},
        exp={"essential": True},
    )
    try:
        decoded = jwt.decode(token, found[0], algorithms=ALGORITHMS)
        registry.validate(decoded.claims)
    except (JoseError, ValueError, TypeError) as error:
        raise InvalidToken(f"{type(error).__name__}: {error}") from error
    return decoded.header, decoded.claims


def _key_id(token: str) -> str | None:
    try:
        part = token.split(".")[0]
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        key_id = header.get("kid")
    except (ValueError, AttributeError, RecursionError) as error:
        raise InvalidToken("it is no JWT") from error
    return None if key_id is None else str(key_id)


def _audience(claims: Mapping[str, Any]) -> tuple[Any, ...]:
    audience = claims.get("aud")
    return tuple(audience) if isinstance(audience, list) else (audience,)
