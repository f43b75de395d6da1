"""Log-in: who a token belongs to, and what a log-in and its end do."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from lib.errors import UserError
from lib.identity.accounts import Accounts
from lib.identity.attempts import Attempts
from lib.identity.audit_log import AuditLog
from lib.identity.login_sessions import LoginSession, LoginSessions, session_id
from lib.identity.names import folded
from lib.identity.oidc.openid_login import OpenIdLogin, Person
from lib.identity.oidc.provider_sessions import ProviderSession, ProviderSessions
from lib.identity.roles import Role

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Identity:
    """Somebody who is logged in.

    Attributes:
        name: Unique name; the author of what is submitted.
        role: What the user may do.
        session: Identifier of the log-in session, which is no secret; empty without one.
    """

    name: str
    role: Role
    session: str = field(default="", compare=False, repr=False)


class Authentication:
    """Log-in of a server that requires it.

    Args:
        accounts: Local accounts.
        sessions: Log-in sessions.
        audit: Log of what users do.
        session_hours: Time until a user has to log in again, hours.
        openid: Log-in at an identity provider, if one is configured.
        at_provider: Sessions that began there.
    """

    def __init__(
        self,
        accounts: Accounts,
        sessions: LoginSessions,
        audit: AuditLog,
        session_hours: float,
        openid: OpenIdLogin | None = None,
        at_provider: ProviderSessions | None = None,
    ) -> None:
        self.accounts = accounts
        self.audit = audit
        self.openid = openid
        self._sessions = sessions
        self._attempts = Attempts()
        self._at_provider = at_provider or ProviderSessions()
        self.session_seconds = 3600 * session_hours

    def identify(self, token: str) -> Identity | None:
        """Return who a token belongs to, with the present role; None if it is unknown or its session has ended."""
        return self._identity_in(session_id(token))

    def has_ended(self, session: str) -> bool:
        """Return whether a log-in session has ended: by log-out, by its age, or with the account or password."""
        return self._identity_in(session) is None

    def identity_of(self, person: Person) -> Identity:
        """Return the identity of somebody whom the identity provider knows.

        Raises:
            UserError: The name is that of a local account, who may be somebody else (403).
        """
        if self._is_local(person.name):
            raise UserError(
                f"The identity provider calls you {person.name}, which is the name of a local account of this server. "
                "An administrator can remove that account (python main.py users), or choose another oidc_name_claim.",
                HTTPStatus.FORBIDDEN,
            )
        return Identity(person.name, person.role)

    def log_in(self, name: str, password: str, address: str, *, ask_provider: bool = False) -> str:
        """Check a password and begin a session.

        Args:
            name: Name of the account.
            password: Password as typed.
            address: Address of the client.
            ask_provider: Whether the password may be one of the identity provider, if no local account has the name.

        Returns:
            The token of the session.

        Raises:
            UserError: Name or password is wrong (401), there were too many failures (429), the identity provider is
                away (503), or the person has no role there (403).
        """
        pause = self._attempts.pause(name, address)
        if pause > 0:
            raise UserError(
                f"There were too many failed attempts. Try again in {math.ceil(pause)} seconds.",
                HTTPStatus.TOO_MANY_REQUESTS,
            )
        self._attempts.failed(name, address)  # counted before the check, so that parallel attempts count as well
        account = self.accounts.check(name, password)
        person = None
        if account is None and ask_provider and self.openid is not None and not self._is_local(name):
            person = self.openid.by_password(name, password)
        if account is None and person is None:
            known = name if name in self.accounts.all() else ""  # people type passwords into the field of the name
            self._note(known, "log-in failed", address=address)
            raise UserError("Name or password is wrong.", HTTPStatus.UNAUTHORIZED)
        self._attempts.succeeded(name, address)
        if person is not None:
            return self.admit(person, address)
        assert account is not None
        self._require_note(account.name, "logged in", address=address)
        return self._sessions.begin(account.name, secret=account.secret, seconds=self.session_seconds)

    def admit(self, person: Person, address: str) -> str:
        """Begin a session of somebody who has logged in at the identity provider, and return its token.

        Args:
            person: Who it is.
            address: Address of the client.

        Raises:
            UserError: The name is that of a local account (403).
        """
        identity = self.identity_of(person)
        self._require_note(identity.name, "logged in", address=address, subject=person.subject)
        token = self._sessions.begin(identity.name, role=identity.role.title, seconds=self.session_seconds)
        self._at_provider.begin(session_id(token), person.subject, person.tokens)
        return token

    def needs_renewal(self, identity: Identity) -> bool:
        """Return whether the provider has to be asked again which role somebody has."""
        return self._at_provider.is_due(identity.session)

    def renewed(self, identity: Identity) -> Identity | None:
        """Return somebody with the role that the identity provider gives now. Blocks.

        While the provider is away, the role stays as it was, and the provider is asked again a minute later.

        Args:
            identity: Somebody whose role has to be asked for again.

        Returns:
            None if the provider has ended the session or taken the role away; the session here has ended, too.
        """
        known = self._at_provider.take_due(identity.session)
        if known is None or self.openid is None:
            return self._identity_in(identity.session)
        try:
            person = self.openid.by_refresh_token(known.tokens.refresh_token, known.subject)
        except UserError:
            return self._identity_in(identity.session)
        if person is None or person.name != identity.name:
            self._end(identity.session, "session ended by the identity provider")
            return None
        tokens = replace(person.tokens, id_token=person.tokens.id_token or known.tokens.id_token)
        if self._identity_in(identity.session) is not None:  # not if the user has logged out meanwhile
            self._at_provider.begin(identity.session, known.subject, tokens)
        if person.role != identity.role:
            self._sessions.change_role(identity.session, person.role.title)
            self._note(identity.name, "role changed", role=person.role.title)
        return self._identity_in(identity.session)

    def log_out(self, token: str, back_to: str = "") -> str | None:
        """End the session of a token, if there is one.

        Args:
            token: Token of the session.
            back_to: URL that the identity provider leads back to; empty to log out here only.

        Returns:
            The URL at which the browser logs out of the identity provider; None if the session did not begin there.
        """
        ended, known = self._end(session_id(token), "logged out")
        if ended is None or not ended.role or self.openid is None or not back_to:
            return None
        return self.openid.log_out_url(known.tokens.id_token if known else "", back_to)

    def _end(self, session: str, why: str) -> tuple[LoginSession | None, ProviderSession | None]:
        ended, known = self._sessions.end(session), self._at_provider.end(session)
        if ended is not None:
            self._note(ended.name, why)
        return ended, known

    def _identity_in(self, session_id: str) -> Identity | None:
        """Return whose session it is, with the present role; None if it has ended."""
        session = self._sessions.find(session_id)
        if session is None:
            return None
        if session.role:
            is_valid = self.openid is not None and not self._is_local(session.name)
            return Identity(session.name, Role.of(session.role), session_id) if is_valid else None
        account = self.accounts.all().get(session.name)
        if account is None or account.secret != session.secret:
            return None  # removed, or the password was changed since
        return Identity(account.name, account.role, session_id)

    def _note(self, user: str, action: str, **details: str) -> None:
        """Add to the audit log what has happened whether or not that is possible."""
        try:
            self.audit.append(user, action, **details)
        except OSError as error:
            logger.error("The audit log cannot be written: %s", error)

    def _require_note(self, user: str, action: str, **details: str) -> None:
        try:
            self.audit.append(user, action, **details)
        except OSError as error:
            logger.error("The audit log cannot be written: %s", error)
            raise UserError(
                "Nobody can log in, because the server cannot write its audit log. An administrator must free disk "
                "space; see its log.",
                HTTPStatus.SERVICE_UNAVAILABLE,
            ) from error

    def _is_local(self, name: str) -> bool:
        """Return whether a local account has this name, or one that a reader cannot tell from it.

        While the accounts cannot be read, any name may be that of one.
        """
        if self.accounts.damage():
            return True
        return folded(name) in map(folded, self.accounts.all())
