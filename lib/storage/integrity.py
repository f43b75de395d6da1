"""Checksums of stored files, and reports of damage."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from lib.errors import UserError


@dataclass(frozen=True)
class Damage:
    """A stored file that no longer has the content that was written.

    Attributes:
        kind: Displayed kind: ``label``, ``DICOM SEG``, ``model version``, ``state``.
        path: The damaged file.
        problem: Message that says what is wrong, what the app does instead, and what to do.
    """

    kind: str
    path: Path
    problem: str


class DamagedFileError(UserError):
    """Raised when a stored file is damaged, so that its content is never used.

    Args:
        damage: Report of the damage.
    """

    def __init__(self, damage: Damage) -> None:
        super().__init__(damage.problem, HTTPStatus.CONFLICT)
        self.damage = damage


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content as hex digits.

    Raises:
        OSError: The file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
