"""Hashes of what is stored, and what was found damaged."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from lib.errors import UserError


@dataclass(frozen=True)
class Damage:
    """Something stored that is not what was written.

    Attributes:
        kind: What it is, for people: ``label``, ``DICOM SEG``, ``model version``, ``state``.
        path: The damaged file.
        problem: What is wrong, what the app does instead, and what to do, in a sentence or two.
    """

    kind: str
    path: Path
    problem: str


class DamagedFileError(UserError):
    """A stored file does not have the content that was written; it is never used in place of the true one.

    Args:
        damage: What was found.
    """

    def __init__(self, damage: Damage) -> None:
        super().__init__(damage.problem, HTTPStatus.CONFLICT)
        self.damage = damage


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, as hex digits.

    Raises:
        OSError: The file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
