"""What the identity provider gave at a log-in, for as long as the session lasts: to renew the role, and to log out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

_RENEW_SECONDS = 300.0  # the lifetime of access tokens at many providers
_AGAIN_SECONDS = 60.0  # after the provider did not answer
_MOST = 10_000


@dataclass(frozen=True)
class Tokens:
    """Tokens of one log-in.

    Attributes:
        id_token: ID token, by which the provider knows at log-out who it is; empty without one.
        refresh_token: Token to ask again who it is and with which roles; empty without one.
    """

    id_token: str = ""
    refresh_token: str = ""


@dataclass(frozen=True)
class ProviderSession:
    """Log-in session that began at the provider.

    Attributes:
        subject: Identifier of the person (``sub``).
        tokens: Tokens of the log-in.
        due: When the role has to be asked for again, monotonic time in seconds.
    """

    subject: str
    tokens: Tokens
    due: float


class ProviderSessions:
    """Sessions that began at the provider; thread-safe.

    In memory only, because ID tokens have data of persons, and refresh tokens are as good as passwords. After a
    restart, sessions go on without them.

    Args:
        renew_seconds: Time after which the role of a session has to be asked for again, seconds.
        clock: Monotonic time, seconds.
    """

    def __init__(self, renew_seconds: float = _RENEW_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._renew_seconds = renew_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, ProviderSession] = {}

    def begin(self, session: str, subject: str, tokens: Tokens) -> None:
        """Keep the tokens of a session; of more than 10,000, the oldest are dropped."""
        with self._lock:
            self._sessions.pop(session, None)
            self._sessions[session] = ProviderSession(subject, tokens, self._clock() + self._renew_seconds)
            for oldest in [*self._sessions][:-_MOST]:
                del self._sessions[oldest]

    def end(self, session: str) -> ProviderSession | None:
        """Forget a session, and return it if it was known."""
        with self._lock:
            return self._sessions.pop(session, None)

    def is_due(self, session: str) -> bool:
        """Return whether the role of a session has to be asked for again."""
        known = self._sessions.get(session)
        return known is not None and bool(known.tokens.refresh_token) and known.due <= self._clock()

    def take_due(self, session: str) -> ProviderSession | None:
        """Return a session whose role has to be asked for again, to one caller only; None for all others."""
        with self._lock:
            if not self.is_due(session):
                return None
            known = self._sessions[session]
            self._sessions[session] = replace(known, due=self._clock() + _AGAIN_SECONDS)
            return known
