"""Whether a server requires log-in, and by what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.errors import UserError
from lib.identity.accounts import Accounts
from lib.identity.audit_log import AuditLog
from lib.identity.authentication import Authentication, Identity
from lib.identity.login_sessions import LoginSessions
from lib.identity.roles import Role
from lib.server.access.credentials import TrustedProxy, identify
from lib.server.access.hosts import parse_hosts
from lib.server.access.listening import Listening
from lib.settings import Settings

_SHORTEST_SECRET = 16  # characters
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1", "[::1]")


@dataclass(frozen=True)
class Login:
    """Log-in of a server that requires it.

    Attributes:
        authentication: Accounts and sessions.
        proxy: Reverse proxy that logs users in, if one is configured.
    """

    authentication: Authentication
    proxy: TrustedProxy | None = None

    def identify(self, headers: Mapping[str, str]) -> Identity | None:
        """Return who sent a request with these headers (names in lower case); None if nobody is logged in."""
        return identify(headers, self.authentication, self.proxy)


def login_of(listening: Listening, settings: Settings) -> Login | None:
    """Return the log-in of a server; None if it needs none.

    It needs one if other machines can reach it: directly, or through a reverse proxy, whose name is in
    ``allowed_hosts``.

    Raises:
        UserError: Log-in is required, but nobody could log in; the message says what to do.
    """
    section = settings.info["config"]["server"]
    proxy = _proxy(section)
    if not (section["login"] or proxy or not listening.is_local or _is_named(section["allowed_hosts"])):
        return None
    accounts = Accounts(settings.users_file)
    if not accounts.all() and proxy is None:
        raise UserError(_nobody(listening, settings))
    return Login(
        Authentication(
            accounts,
            LoginSessions(settings.workspace / "logins.json"),
            AuditLog(settings.audit_file),
            section["session_hours"],
        ),
        proxy,
    )


def _nobody(listening: Listening, settings: Settings) -> str:
    address = next(iter(listening.hosts), "") or "every address"
    why = (
        "Log-in is required (--conf login or allowed_hosts)"
        if listening.is_local
        else f"The server would listen on {address}, where other machines can reach it, so log-in is required"
    )
    local = "" if listening.is_local else " To serve this machine only, add --host 127.0.0.1."
    return (
        f"{why}, but nobody can log in: {settings.users_file} has no user. Create one with: python main.py users "
        f"--workspace {settings.workspace} add NAME --role admin.{local}"
    )


def _is_named(allowed_hosts: str) -> bool:
    return any(host not in _LOOPBACK_NAMES for host in parse_hosts(allowed_hosts))


def _proxy(section: Mapping[str, Any]) -> TrustedProxy | None:
    header, file = section["proxy_user_header"].strip().lower(), section["proxy_secret_file"]
    if not header:
        return None
    try:
        secret = Path(file).expanduser().read_text(encoding="utf-8").strip() if file else ""
    except (OSError, ValueError) as error:
        raise UserError(f"proxy_secret_file {file} cannot be read ({type(error).__name__}).") from error
    if len(secret) < _SHORTEST_SECRET:
        raise UserError(
            f"proxy_user_header is set, so proxy_secret_file must name a file with a secret of {_SHORTEST_SECRET} "
            "characters or more, which the reverse proxy sends in the header X-Proxy-Secret. Without it everybody "
            "could send the header."
        )
    return TrustedProxy(header, secret, Role.of(section["proxy_role"]))
