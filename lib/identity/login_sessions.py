"""Log-in sessions: random tokens of browsers and programs, of which the server keeps only hashes."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lib.identity.roles import Role
from lib.storage.state_file import StateFile

_TOKEN_BYTES = 32
_MOST = 10_000
_MOST_OF_USER = 20  # the oldest end, so that nobody can end those of others
_UNREADABLE = "Everybody has to log in again."


@dataclass(frozen=True)
class LoginSession:
    """One log-in.

    Attributes:
        name: Name of the user.
        secret: Value that must equal the one of the account; it changes with the password.
        role: Title of the role that an identity provider gave; empty for a local account, whose role is looked up.
        until: End of the session, seconds since 1970.
    """

    name: str
    secret: str
    role: str
    until: float


class LoginSessions:
    """Sessions of a server; thread-safe, and kept over a restart.

    Args:
        path: ``logins.json`` of the workspace; mode 0600.
        clock: Time, seconds since 1970.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = StateFile(path, _parse, _UNREADABLE)
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions = self._file.read() or {}

    def begin(self, name: str, *, secret: str = "", role: str = "", seconds: float) -> str:
        """Begin a session and return its token, which is never one that a client has proposed."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        with self._lock:
            now = self._clock()
            kept = {key: one for key, one in self._sessions.items() if one.until > now}
            kept[session_id(token)] = LoginSession(name, secret, role, now + seconds)
            own = [key for key, one in kept.items() if one.name == name]
            for key in own[:-_MOST_OF_USER]:
                del kept[key]
            self._write(dict(list(kept.items())[-_MOST:]))
        return token

    def find(self, session_id: str) -> LoginSession | None:
        """Return a session; None if there is none, or it has ended."""
        session = self._sessions.get(session_id)
        return session if session is not None and session.until > self._clock() else None

    def change_role(self, session_id: str, role: str) -> None:
        """Change the role of a session that an identity provider gave; nothing happens if it has ended."""
        with self._lock:
            session = self._sessions.get(session_id)
            if session is not None:
                self._write({**self._sessions, session_id: replace(session, role=role)})

    def end(self, session_id: str) -> LoginSession | None:
        """End a session, and return it if there was one."""
        with self._lock:
            ended = self._sessions.get(session_id)
            if ended is not None:
                self._write({key: one for key, one in self._sessions.items() if key != session_id})
        return ended

    def _write(self, sessions: dict[str, LoginSession]) -> None:
        self._sessions = sessions
        self._file.write({key: asdict(one) for key, one in sessions.items()})


def session_id(token: str) -> str:
    """Return the identifier of the session of a token, from which the token cannot be computed."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _parse(content: Any) -> dict[str, LoginSession]:
    sessions = {key: LoginSession(**one) for key, one in content.items()}
    for one in sessions.values():
        texts = (one.name, one.secret, one.role)
        if not all(isinstance(text, str) for text in texts) or not isinstance(one.until, int | float):
            raise TypeError("a session is incomplete")
        if one.role:
            Role.of(one.role)
    return sessions
