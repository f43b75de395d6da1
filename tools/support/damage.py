"""Damage to a file, as by a crash, a failing disk or an editor."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncated(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _bit_flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x01
    path.write_bytes(content)


def _garbage(path: Path) -> None:
    path.write_bytes(b"\xff\x00garbage\x80" * 40)


def _missing(path: Path) -> None:
    path.unlink()


def _directory(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": _empty,
    "truncated": _truncated,
    "bit flip": _bit_flip,
    "garbage": _garbage,
    "missing": _missing,
    "directory": _directory,
}


def damage(path: Path, kind: str) -> None:
    """Damage a file in one of the ways of ``DAMAGES``."""
    DAMAGES[kind](path)


def restore(path: Path, content: bytes) -> None:
    """Restore a damaged file."""
    if path.is_dir():
        shutil.rmtree(path)
    path.write_bytes(content)
