"""Log-in at an identity provider: of browsers by the code flow, of programs by access token or password."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session

from lib.errors import UserError
from lib.identity.oidc.attempts import LoginAttempt, LoginAttempts
from lib.identity.oidc.claims import ClaimRules
from lib.identity.oidc.provider import TIMEOUT, Provider, Snapshot, away
from lib.identity.oidc.provider_sessions import Tokens
from lib.identity.oidc.tokens import InvalidToken, UnknownKey, looks_like_jwt, verify_access_token, verify_id_token
from lib.identity.roles import Role

logger = logging.getLogger(__name__)

_LONGEST_HINT = 4000  # characters of a URL; proxies accept 8 KiB
_AGAIN = "The log-in at the identity provider was not completed. Try again."


@dataclass(frozen=True)
class OpenIdClient:
    """This server as a client of the provider.

    Attributes:
        id: Identifier that the provider knows it by.
        secret: Its secret; empty for a public client.
        audience: Value of ``aud`` in the access tokens of programs.
        scope: Scopes that are asked for, with ``openid`` among them.
        title: Name of the provider on the log-in page.
    """

    id: str
    secret: str
    audience: str
    scope: str
    title: str


@dataclass(frozen=True)
class Person:
    """Somebody whom the provider knows.

    Attributes:
        name: Unique name.
        role: Role in this server.
        subject: Identifier that never changes (``sub``).
        tokens: Tokens of the log-in.
    """

    name: str
    role: Role
    subject: str
    tokens: Tokens = field(default=Tokens(), compare=False, repr=False)


class OpenIdLogin:
    """Log-in at one provider.

    Args:
        provider: The provider.
        client: This server as its client.
        rules: Claims of name and role.
    """

    def __init__(self, provider: Provider, client: OpenIdClient, rules: ClaimRules) -> None:
        self.provider = provider
        self.client = client
        self._rules = rules
        self._attempts = LoginAttempts()

    def begin(self, redirect_uri: str, next: str, former: str) -> tuple[str, LoginAttempt]:
        """Return the URL of the provider that a browser goes to, and the attempt that it begins. Blocks.

        Raises:
            UserError: The provider is away (503).
        """
        metadata = self.provider.snapshot().metadata
        attempt = self._attempts.begin(redirect_uri, next, former)
        with self._session(metadata, redirect_uri) as session:
            url, _ = session.create_authorization_url(
                metadata["authorization_endpoint"],
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.verifier,
            )
        return url, attempt

    def complete(self, parameters: Mapping[str, str], browser: str) -> tuple[Person, LoginAttempt]:
        """Return who came back from the provider. Blocks.

        Args:
            parameters: Query of the request to the redirect URI.
            browser: Value of the cookie of the attempt.

        Raises:
            UserError: The browser did not begin this log-in or it was completed before (400), the provider refused it
                or the person has no role (403), or the provider is away (503).
        """
        attempt = self._attempts.take(parameters.get("state", ""), browser)
        if attempt is None or parameters.get("iss", self.provider.issuer) != self.provider.issuer:
            raise UserError(_AGAIN)
        if "code" not in parameters:
            logger.info("The identity provider refused a log-in: %.100r", parameters.get("error"))
            raise UserError("The identity provider has refused the log-in.", HTTPStatus.FORBIDDEN)
        known = self.provider.snapshot()
        grant = {"grant_type": "authorization_code", "code": parameters["code"], "code_verifier": attempt.verifier}
        tokens = self._tokens(known, attempt.redirect_uri, **grant)
        if tokens is None or "id_token" not in tokens:
            raise UserError(_AGAIN)
        return self._person(tokens, attempt.nonce), attempt

    def by_password(self, name: str, password: str) -> Person | None:
        """Return whom the provider knows by name and password (RFC 6749, section 4.3). Blocks.

        Returns:
            The person; None if the provider refuses the password, or does not offer this way.

        Raises:
            UserError: The person has no role (403), or the provider is away (503).
        """
        known = self.provider.snapshot()
        if "password" not in known.metadata.get("grant_types_supported", ()):
            return None
        tokens = self._tokens(known, None, grant_type="password", username=name, password=password)
        return self._person(tokens, None) if tokens else None

    def by_refresh_token(self, token: str, subject: str) -> Person | None:
        """Return whose refresh token this is, with the present role. Blocks.

        Args:
            token: Refresh token.
            subject: Person that it was given for.

        Returns:
            The person; None if the provider refuses, the person has no role any more, or it is another person.

        Raises:
            UserError: The provider is away (503).
        """
        tokens = self._tokens(self.provider.snapshot(), None, grant_type="refresh_token", refresh_token=token)
        if tokens is None:
            return None
        try:
            person = self._person({"refresh_token": token, **tokens}, None)
        except UserError as error:
            if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
                raise
            return None
        return person if person.subject == subject else None

    def log_out_url(self, id_token: str, back_to: str) -> str | None:
        """Return the URL at which a browser logs out of the provider (OpenID Connect RP-Initiated Logout 1.0). Blocks.

        Args:
            id_token: ID token of the log-in; empty if it is not known any more: the provider then asks the user.
            back_to: URL that the provider leads back to; it must be registered there.

        Returns:
            None if the provider offers no log-out, or is away.
        """
        try:
            endpoint = self.provider.snapshot().metadata.get("end_session_endpoint")
        except UserError:
            return None
        if not endpoint:
            return None
        hint = {"id_token_hint": id_token} if 0 < len(id_token) <= _LONGEST_HINT else {}
        query = urlencode({"client_id": self.client.id, "post_logout_redirect_uri": back_to, **hint})
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{query}"

    def by_access_token(self, token: str) -> Person | None:
        """Return whose access token this is, by the known keys; None if it is not valid. Does not block.

        Raises:
            UnknownKey: The keys have to be fetched first.
            UserError: The person has no role (403).
        """
        if not looks_like_jwt(token):
            return None
        known = self.provider.current()
        if known is None:
            raise UnknownKey("no keys are known")
        try:
            claims = self._access_claims(token, known)
        except UnknownKey:
            raise
        except InvalidToken as error:
            logger.info("An access token is refused: %s", str(error)[:200])
            return None
        return self._person_of(claims)

    def _session(self, metadata: Mapping[str, Any], redirect_uri: str | None) -> OAuth2Session:
        return OAuth2Session(
            self.client.id,
            self.client.secret or None,
            scope=self.client.scope,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            token_endpoint_auth_method=_authentication_method(metadata, self.client.secret),
        )

    def _tokens(self, known: Snapshot, redirect_uri: str | None, **grant: str) -> Mapping[str, Any] | None:
        """Return the answer of the token endpoint; None if it refuses."""
        with self.provider.asking(), self._session(known.metadata, redirect_uri) as session:
            try:
                return session.fetch_token(
                    known.metadata["token_endpoint"], timeout=TIMEOUT, allow_redirects=False, **grant
                )
            except AuthlibBaseError as error:
                logger.info("The identity provider refused: %.200s", error.error)
                if error.error in ("invalid_client", "unauthorized_client"):
                    raise away(error) from error  # the configuration is wrong, not the user
                return None
            except (requests.RequestException, ValueError, KeyError, TypeError) as error:
                raise away(error) from error

    def _person(self, tokens: Mapping[str, Any], nonce: str | None) -> Person:
        """Return whom the tokens of a log-in describe.

        Keycloak puts roles into the access token, others into the ID token, or offer them for the access token only
        (UserInfo); they are looked for in this order: ID token, access token, UserInfo.
        """
        try:
            claims = self._id_claims(tokens["id_token"], nonce) if "id_token" in tokens else {}
            if not self._rules.are_in(claims):
                claims = self._with(claims, self._claims_of_access_token(tokens["access_token"]))
            if not self._rules.are_in(claims):
                claims = self._with(claims, self._user_info(tokens["access_token"]))
            kept = Tokens(*(str(tokens.get(name) or "") for name in ("id_token", "refresh_token")))
            return replace(self._person_of(claims), tokens=kept)
        except (InvalidToken, KeyError) as error:
            logger.warning("A token of the identity provider is refused: %s", str(error)[:200])
            raise UserError(_AGAIN) from error

    def _person_of(self, claims: Mapping[str, Any]) -> Person:
        return Person(self._rules.name(claims), self._rules.role(claims), str(claims["sub"]))

    def _id_claims(self, token: str, nonce: str | None) -> dict[str, Any]:
        def verified(known: Snapshot) -> dict[str, Any]:
            return verify_id_token(
                token, known.keys, issuer=self.provider.issuer, client_id=self.client.id, nonce=nonce
            )

        try:
            return verified(self.provider.snapshot())
        except UnknownKey:
            return verified(self.provider.refresh())

    def _access_claims(self, token: str, known: Snapshot) -> dict[str, Any]:
        names = {"issuer": self.provider.issuer, "client_id": self.client.id, "audience": self.client.audience}
        return verify_access_token(token, known.keys, **names)

    def _claims_of_access_token(self, token: str) -> dict[str, Any]:
        """Return the claims of the access token of a log-in; none if it is no JWT, or not for this server."""
        if not looks_like_jwt(token):
            return {}
        try:
            return self._access_claims(token, self.provider.snapshot())
        except InvalidToken:
            return {}

    def _user_info(self, token: str) -> dict[str, Any]:
        url = self.provider.snapshot().metadata.get("userinfo_endpoint")
        if not url:
            return {}
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        with self.provider.asking():
            try:
                answer = requests.get(url, timeout=TIMEOUT, headers=headers, allow_redirects=False)
                answer.raise_for_status()
                claims = answer.json()
            except (requests.RequestException, ValueError) as error:
                raise away(error) from error
        return claims if isinstance(claims, dict) else {}

    @staticmethod
    def _with(claims: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
        """Return both; those of another person are ignored (OpenID Connect Core 1.0, section 5.3.2)."""
        same = "sub" not in claims or claims["sub"] == more.get("sub")
        return {**more, **claims} if same else claims


def _authentication_method(metadata: Mapping[str, Any], secret: str) -> str:
    if not secret:
        return "none"
    offered = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    return "client_secret_basic" if "client_secret_basic" in offered else "client_secret_post"
