"""Log-in: who a token belongs to, and what a log-in and its end do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from http import HTTPStatus

from lib.errors import UserError
from lib.identity.accounts import Accounts
from lib.identity.attempts import Attempts
from lib.identity.audit_log import AuditLog
from lib.identity.login_sessions import LoginSessions
from lib.identity.roles import Role


@dataclass(frozen=True)
class Identity:
    """Somebody who is logged in.

    Attributes:
        name: Unique name; the author of what is submitted.
        role: What the user may do.
    """

    name: str
    role: Role


class Authentication:
    """Log-in of a server that requires it.

    Args:
        accounts: Local accounts.
        sessions: Log-in sessions.
        audit: Log of what users do.
        session_hours: Time until a user has to log in again, hours.
    """

    def __init__(self, accounts: Accounts, sessions: LoginSessions, audit: AuditLog, session_hours: float) -> None:
        self.accounts = accounts
        self.audit = audit
        self._sessions = sessions
        self._attempts = Attempts()
        self.session_seconds = 3600 * session_hours

    def identify(self, token: str) -> Identity | None:
        """Return who a token belongs to, with the present role; None if it is unknown or its session has ended."""
        session = self._sessions.find(token)
        if session is None:
            return None
        if session.role:
            return Identity(session.name, Role.of(session.role))
        account = self.accounts.all().get(session.name)
        if account is None or account.secret != session.secret:
            return None  # removed, or the password was changed since
        return Identity(account.name, account.role)

    def log_in(self, name: str, password: str, address: str) -> str:
        """Check a password and begin a session.

        Args:
            name: Name of the account.
            password: Password as typed.
            address: Address of the client.

        Returns:
            The token of the session.

        Raises:
            UserError: Name or password is wrong (401), or there were too many failures (429).
        """
        keys = f"name {name}", f"address {address}"
        pause = self._attempts.pause(*keys)
        if pause > 0:
            raise UserError(
                f"There were too many failed attempts. Try again in {math.ceil(pause)} seconds.",
                HTTPStatus.TOO_MANY_REQUESTS,
            )
        self._attempts.failed(*keys)  # counted before the check, so that parallel attempts count as well
        account = self.accounts.check(name, password)
        known = name if name in self.accounts.all() else ""  # people type passwords into the field of the name
        if account is None:
            self.audit.append(known, "log-in failed", address=address)
            raise UserError("Name or password is wrong.", HTTPStatus.UNAUTHORIZED)
        self._attempts.succeeded(*keys)
        self.audit.append(account.name, "logged in", address=address)
        return self._sessions.begin(account.name, secret=account.secret, seconds=self.session_seconds)

    def log_out(self, token: str) -> None:
        """End the session of a token, if there is one."""
        ended = self._sessions.end(token)
        if ended is not None:
            self.audit.append(ended.name, "logged out")
