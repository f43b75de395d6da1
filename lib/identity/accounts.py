"""Local accounts: names, roles and hashes of passwords, in one file of the workspace."""

from __future__ import annotations

import functools
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from filelock import FileLock, Timeout

from lib.errors import UserError
from lib.identity.roles import Role
from lib.storage.integrity import Damage
from lib.storage.state_file import StateFile

SHORTEST_PASSWORD = 12  # characters; length rather than composition (NIST SP 800-63B 5.1.1.2)
_LONGEST_PASSWORD = 1024
_NAME = re.compile(r"[\w.@+-]{1,64}")
_LOCK_SECONDS = 10
_UNREADABLE = "Nobody can log in until it is restored or the accounts are created again."
_HASHER = PasswordHasher()  # argon2id with the parameters of RFC 9106 for machines with little memory


@dataclass(frozen=True)
class Account:
    """Account of one user.

    Attributes:
        name: Unique name; the author of what the user submits.
        role: Role of the user.
        password: Hash of the password by argon2id, with its parameters.
        secret: Random value that changes with the password, so that older sessions end.
    """

    name: str
    role: Role
    password: str
    secret: str


class Accounts:
    """Accounts of a workspace, shared by the server and the command line; thread-safe.

    The file is read again when it changes, so that the server knows a change by the command line at once.

    Args:
        path: ``users.json`` of the workspace; mode 0600.
    """

    def __init__(self, path: Path) -> None:
        self._file = StateFile(path, _parse, _UNREADABLE)
        self._lock = threading.Lock()
        self._read: tuple[tuple[int, ...] | None, dict[str, Account]] = (None, {})
        self._checking = threading.BoundedSemaphore(2)  # a check takes 64 MiB and tens of milliseconds

    def all(self) -> dict[str, Account]:
        """Return all accounts by name."""
        with self._lock:
            state = self._state()
            if state != self._read[0]:
                self._read = state, self._file.read() or {}
            return self._read[1]

    def damage(self) -> Damage | None:
        """Return the damage to the file, because of which nobody is known; None if it is intact or missing."""
        return self._file.damage()

    def check(self, name: str, password: str) -> Account | None:
        """Return the account if name and password belong together, else None.

        An unknown name takes as long as a wrong password, so that the time does not tell which names exist.
        """
        account = self.all().get(name)
        with self._checking:
            matches = _matches(account.password if account else _hash_of_nobody(), password[:_LONGEST_PASSWORD])
        return account if matches else None

    def add(self, name: str, role: Role, password: str) -> None:
        """Create an account.

        Raises:
            UserError: The name is taken or invalid, or the password is too short.
        """
        if not _NAME.fullmatch(name):
            raise UserError(f"The name {name[:100]!r} is not valid: use up to 64 letters, digits and . @ + - _")
        with self._changing() as accounts:
            if name in accounts:
                raise UserError(f"There is a user {name!r} already.")
            accounts[name] = Account(name, role, _hashed(password), secrets.token_hex(16))

    def change(self, name: str, *, role: Role | None = None, password: str | None = None) -> None:
        """Change the role or the password of an account; a new password ends the sessions of its user.

        Raises:
            UserError: There is no such user, or the password is too short.
        """
        with self._changing() as accounts:
            account = _existing(accounts, name)
            if role is not None:
                account = replace(account, role=role)
            if password is not None:
                account = replace(account, password=_hashed(password), secret=secrets.token_hex(16))
            accounts[name] = account

    def remove(self, name: str) -> None:
        """Remove an account, which ends the sessions of its user; what the user submitted remains.

        Raises:
            UserError: There is no such user.
        """
        with self._changing() as accounts:
            del accounts[_existing(accounts, name).name]

    def _state(self) -> tuple[int, ...] | None:
        try:
            status = self._file.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Account]]:
        path = self._file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(path.with_suffix(".lock"), timeout=_LOCK_SECONDS, mode=0o600):
                accounts = dict(self.all())
                yield accounts
                self._file.write({one.name: {**asdict(one), "role": one.role.title} for one in accounts.values()})
        except Timeout:
            raise UserError(f"Another process is changing {path}. Try again.") from None


def _existing(accounts: dict[str, Account], name: str) -> Account:
    if name not in accounts:
        raise UserError(f"There is no user {name!r}; there is {', '.join(sorted(accounts)) or 'none yet'}.")
    return accounts[name]


def _parse(content: Any) -> dict[str, Account]:
    accounts = {name: Account(**{**one, "role": Role.of(one["role"])}) for name, one in content.items()}
    for name, one in accounts.items():
        if name != one.name or not all(isinstance(text, str) and text for text in (one.password, one.secret)):
            raise ValueError(f"the account {name!r} is incomplete")
    return accounts


def _hashed(password: str) -> str:
    if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
        raise UserError(f"The password must have {SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} characters.")
    return _HASHER.hash(_bytes(password))


def _bytes(password: str) -> bytes:
    return password.encode(errors="replace")  # what a client sends may not be valid Unicode


@functools.cache
def _hash_of_nobody() -> str:
    return _HASHER.hash(secrets.token_hex())


def _matches(hashed: str, password: str) -> bool:
    try:
        return _HASHER.verify(hashed, _bytes(password))
    except (VerificationError, InvalidHashError):
        return False
