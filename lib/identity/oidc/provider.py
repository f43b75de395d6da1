"""Description and keys of an identity provider (OpenID Connect Discovery 1.0)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import requests
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from lib.errors import UserError, in_one_line

logger = logging.getLogger(__name__)

TIMEOUT = (3.05, 8.0)  # seconds, to connect and between two parts of an answer
_VALID_SECONDS = 3600.0
_PAUSE_SECONDS = 30.0  # between two requests for keys, so that tokens with made-up key ids cause no more
_PAUSE_AFTER_FAILURE_SECONDS = 5.0
_MOST_WAITING = 8  # requests of users that may wait for the provider at a time
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_OPTIONAL_ENDPOINTS = ("userinfo_endpoint", "end_session_endpoint")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Snapshot:
    """What a provider published at one time.

    Attributes:
        metadata: Its description (OpenID Connect Discovery 1.0, section 3).
        keys: Public keys of its signatures.
        fetched: Monotonic time, seconds.
    """

    metadata: Mapping[str, Any]
    keys: KeySet
    fetched: float


class Provider:
    """Identity provider, whose description and keys are fetched when needed and kept for an hour; thread-safe.

    Args:
        issuer: URL of the provider, as it calls itself in its tokens.
        clock: Monotonic time, seconds.

    Raises:
        UserError: The URL is not one of HTTPS, or of HTTP on this machine.
    """

    def __init__(self, issuer: str, clock: Callable[[], float] = time.monotonic) -> None:
        if not is_safe_url(issuer):
            raise UserError(
                f"oidc_issuer is {issuer!r}; it must be the https:// URL of the identity provider, as it calls itself "
                "in /.well-known/openid-configuration. http:// is possible on this machine only."
            )
        self.issuer = issuer
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)
        self._snapshot: Snapshot | None = None
        self._failed: float | None = None

    def current(self) -> Snapshot | None:
        """Return what is known without a request; None if nothing is, or it is older than an hour."""
        known = self._snapshot
        return known if known is not None and self._clock() - known.fetched < _VALID_SECONDS else None

    def snapshot(self) -> Snapshot:
        """Return what is known, after a request if nothing is. Blocks.

        Raises:
            UserError: The provider is away (503).
        """
        return self.current() or self.refresh()

    def refresh(self) -> Snapshot:
        """Fetch description and keys again, at most every 30 seconds. Blocks.

        Raises:
            UserError: The provider is away (503).
        """
        with self.asking(), self._lock:
            now = self._clock()
            known = self.current()
            if known is not None and now - known.fetched < _PAUSE_SECONDS:
                return known
            if self._failed is not None and now - self._failed < _PAUSE_AFTER_FAILURE_SECONDS:
                raise away()
            try:
                self._snapshot = self._fetch()
            except (requests.RequestException, JoseError, ValueError, KeyError, TypeError) as error:
                self._failed = self._clock()
                raise away(error) from error
            return self._snapshot

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Count the caller among those that wait for the provider.

        Raises:
            UserError: Too many wait (503); they would take the threads of all other requests.
        """
        if not self._waiting.acquire(blocking=False):
            raise UserError(
                "Too many people are logging in at the identity provider. Try again in a moment.",
                HTTPStatus.SERVICE_UNAVAILABLE,
            )
        try:
            yield
        finally:
            self._waiting.release()

    def _fetch(self) -> Snapshot:
        metadata = _json_of(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        if metadata["issuer"] != self.issuer:
            raise ValueError(f"oidc_issuer is {self.issuer!r}, but the provider calls itself {metadata['issuer']!r}")
        for name in (*_ENDPOINTS, *(name for name in _OPTIONAL_ENDPOINTS if name in metadata)):
            if not is_safe_url(metadata.get(name)):
                raise ValueError(f"its {name} is not an https:// URL: {metadata.get(name)!r}")
        keys = [key for key in _json_of(metadata["jwks_uri"])["keys"] if key.get("use", "sig") == "sig"]
        return Snapshot(metadata, KeySet.import_key_set({"keys": keys}), self._clock())


def away(error: Exception | None = None) -> UserError:
    """Return the error for users while the provider does not answer as it should; its reason goes to the log."""
    if error is not None:
        logger.warning("The identity provider cannot be used: %s", in_one_line(error)[:500])
    return UserError(
        "The identity provider does not answer. Try again in a moment; an administrator finds the reason in the log.",
        HTTPStatus.SERVICE_UNAVAILABLE,
    )


def is_safe_url(url: Any) -> bool:
    """Return whether ``url`` is one of HTTPS, or of HTTP on this machine."""
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (
            parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        )
    except ValueError:
        return False


def _json_of(url: str) -> dict[str, Any]:
    answer = requests.get(url, timeout=TIMEOUT, headers={"Accept": "application/json"})
    answer.raise_for_status()
    content = answer.json()
    if not isinstance(content, dict):
        raise TypeError(f"{url} is no JSON object")
    return content
