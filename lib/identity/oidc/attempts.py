"""Log-ins that were begun at an identity provider and are not completed yet."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

SECONDS = 600.0  # from the button to the return from the provider
_MOST = 10_000


@dataclass(frozen=True)
class LoginAttempt:
    """One log-in that was begun.

    Attributes:
        state: Value that the provider sends back; it selects the attempt.
        browser: Value of a cookie; it proves that the browser is the one that began.
        nonce: Value that the ID token must contain, so that a token of another log-in is refused.
        verifier: Secret of PKCE (RFC 7636), so that a stolen code is of no use.
        redirect_uri: URL of this server that the provider sends the browser to.
        next: Page that is opened afterwards.
        former: Token of the session that the browser had before, which ends; empty if it had none.
        until: Monotonic time, seconds.
    """

    redirect_uri: str
    next: str
    former: str
    until: float
    state: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    browser: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))


class LoginAttempts:
    """Attempts of all browsers, each for one use within ten minutes; thread-safe, and lost with a restart.

    Args:
        clock: Monotonic time, seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._attempts: OrderedDict[str, LoginAttempt] = OrderedDict()

    def begin(self, redirect_uri: str, next: str, former: str = "") -> LoginAttempt:
        """Begin an attempt; of more than 10,000, the oldest are dropped."""
        attempt = LoginAttempt(redirect_uri, next, former, self._clock() + SECONDS)
        with self._lock:
            self._attempts[attempt.state] = attempt
            while len(self._attempts) > _MOST:
                self._attempts.popitem(last=False)
        return attempt

    def take(self, state: str, browser: str) -> LoginAttempt | None:
        """Return and forget the attempt of a browser; None if there is none, or another browser began it.

        Args:
            state: Value in the request.
            browser: Value of the cookie of the attempt.
        """
        with self._lock:
            attempt = self._attempts.get(state)
            if attempt is None or not secrets.compare_digest(attempt.browser.encode(), browser.encode()):
                return None
            del self._attempts[state]
        return attempt if attempt.until > self._clock() else None
