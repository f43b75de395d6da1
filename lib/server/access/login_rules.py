"""Whether a server requires log-in, and by what."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lib.errors import UserError
from lib.identity.accounts import Accounts
from lib.identity.audit_log import AuditLog
from lib.identity.authentication import Authentication, Identity
from lib.identity.login_sessions import LoginSessions
from lib.identity.oidc.claims import ClaimRules
from lib.identity.oidc.openid_login import OpenIdClient, OpenIdLogin
from lib.identity.oidc.provider import Provider
from lib.identity.oidc.provider_sessions import ProviderSessions
from lib.identity.oidc.tokens import UnknownKey
from lib.identity.roles import Role
from lib.server.access.credentials import TrustedProxy, bearer_token_of, identify
from lib.server.access.hosts import parse_hosts
from lib.server.access.listening import Listening
from lib.settings import Settings

_LONGEST_WAIT = 2.0  # seconds that a request waits for the identity provider to say which role somebody has
_RENEWING_THREADS = 4  # fewer than may ask the provider at a time, so that people can still log in
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
    _fetching: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    _renewing: set[str] = field(default_factory=set, repr=False)  # sessions
    # Of their own: a provider that does not answer must not take the threads of all other requests.
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_RENEWING_THREADS, "identity provider"), repr=False
    )

    def identify(self, headers: Mapping[str, str]) -> Identity | None:
        """Return who sent a request with these headers (names in lower case); None if nobody is logged in."""
        return identify(headers, self.authentication, self.proxy)

    async def renewed(self, identity: Identity) -> Identity | None:
        """Return somebody with the role that the identity provider gives now; None if the session has ended.

        If the provider is slow, the request goes on with the known role, and its answer counts for later ones.

        Args:
            identity: Somebody whose role has to be asked for again.
        """
        session = identity.session
        if session in self._renewing:
            return identity
        self._renewing.add(session)
        asked = asyncio.get_running_loop().run_in_executor(self._threads, self.authentication.renewed, identity)
        asked.add_done_callback(lambda _: self._renewing.discard(session))
        await asyncio.wait([asked], timeout=_LONGEST_WAIT)
        return asked.result() if asked.done() else identity

    async def identify_by_access_token(self, headers: Mapping[str, str]) -> Identity | None:
        """Return whose access token of the identity provider a request has; None if it has none that is valid.

        Raises:
            UserError: The provider's keys cannot be fetched (503), or the user has no role or a local name (403).
        """
        openid, token = self.authentication.openid, bearer_token_of(headers)
        if openid is None or not token:
            return None
        try:
            person = openid.by_access_token(token)
        except UnknownKey:
            async with self._fetching:  # of many requests, one waits in a thread
                await asyncio.to_thread(openid.provider.refresh)
            try:
                person = openid.by_access_token(token)
            except UnknownKey:
                return None
        return self.authentication.identity_of(person) if person else None


def login_of(listening: Listening, settings: Settings) -> Login | None:
    """Return the log-in of a server; None if it needs none.

    It needs one if other machines can reach it: directly, or through a reverse proxy, whose name is in
    ``allowed_hosts``; for a reader study; and where labels need a review.

    Raises:
        UserError: Log-in is required, but nobody could log in; the message says what to do.
    """
    section = settings.info["config"]["server"]
    proxy, openid = _proxy(section), _openid(settings.info["config"]["oidc"])
    named = _is_named(section["allowed_hosts"])
    signed = settings.study_file or settings.info["config"]["activelearning"]["review"]  # who submitted must be known
    if not (section["login"] or proxy or openid or not listening.is_local or named or signed):
        return None
    accounts = Accounts(settings.users_file)
    if not accounts.all() and proxy is None and openid is None:
        raise UserError(_nobody(listening, settings))
    return Login(
        Authentication(
            accounts,
            LoginSessions(settings.workspace / "logins.json"),
            AuditLog(settings.audit_file),
            section["session_hours"],
            openid,
            ProviderSessions(settings.info["config"]["oidc"]["oidc_renew_seconds"]),
        ),
        proxy,
    )


def _nobody(listening: Listening, settings: Settings) -> str:
    address = next(iter(listening.hosts), "") or "every address"
    why = (
        "Log-in is required (--conf login, allowed_hosts, study or review)"
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
    header = section["proxy_user_header"].strip().lower()
    if not header:
        return None
    secret = _secret(section, "proxy_secret_file")
    if len(secret) < _SHORTEST_SECRET:
        raise UserError(
            f"proxy_user_header is set, so proxy_secret_file must name a file with a secret of {_SHORTEST_SECRET} "
            "characters or more, which the reverse proxy sends in the header X-Proxy-Secret. Without it everybody "
            "could send the header."
        )
    return TrustedProxy(header, secret, Role.of(section["proxy_role"]))


def _openid(section: Mapping[str, Any]) -> OpenIdLogin | None:
    issuer, client_id = section["oidc_issuer"].strip(), section["oidc_client_id"].strip()
    if not issuer:
        return None
    provider = Provider(issuer)
    if not client_id:
        raise UserError("oidc_issuer is set, so oidc_client_id must name the client that this server is there.")
    client = OpenIdClient(
        id=client_id,
        secret=_secret(section, "oidc_client_secret_file"),
        audience=section["oidc_audience"] or client_id,
        scope=" ".join(dict.fromkeys(("openid", *section["oidc_scope"].split()))),
        title=section["oidc_title"] or str(urlsplit(issuer).hostname),
    )
    roles = {value: Role.of(role) for value, role in section["oidc_roles"].items()}
    return OpenIdLogin(provider, client, ClaimRules(section["oidc_name_claim"], section["oidc_role_claim"], roles))


def _secret(section: Mapping[str, Any], setting: str) -> str:
    """Return the content of the file that a setting names; empty if it names none."""
    file = section[setting]
    try:
        return Path(file).expanduser().read_text(encoding="utf-8").strip() if file else ""
    except (OSError, ValueError) as error:
        raise UserError(f"{setting} {file} cannot be read ({type(error).__name__}).") from error
