"""The DICOM objects of the workspace, each with the checksum of what was written."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lib.storage.atomic import make_folder, write_atomically
from lib.storage.integrity import Damage, DamagedFileError, sha256_of
from lib.storage.state_file import move_aside
from lib.storage.watched_files import CHANGED, WatchedFiles

logger = logging.getLogger(__name__)

_SUFFIX = ".dcm"
_LINE = re.compile(r"([0-9a-f]{64})  \S+\n?")


class StoredObjects:
    """Files ``<study>/<instance>.dcm``, and beside their folder their checksums, as ``sha256sum`` writes them.

    The checksums lie in ``checksums/segs``, out of the folder that is indexed. An object without one, written by an
    older version of this app or put there by a person, gets one when it is first seen. Safe to use from several
    threads and processes.

    Args:
        folder: Of the objects.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._checksums = self._folder.parent / "checksums" / self._folder.name
        self._files = WatchedFiles()

    def place(self, study_uid: str, sop_uid: str) -> Path:
        """Where an instance is stored; both are valid UIDs."""
        return self._folder / study_uid / f"{sop_uid}{_SUFFIX}"

    def write(self, path: Path, write: Callable[[Path], Any]) -> None:
        """Store an object and its checksum."""
        write_atomically(path, write)
        self._note(path.resolve())

    def check(self, path: Path) -> None:
        """Compare an object with its checksum; a file that lies elsewhere is none of ours.

        Raises:
            DamagedFileError: It is not what was stored.
        """
        path = path.resolve()
        if path.is_relative_to(self._folder):
            self._files.forget(path)
            if damage := self._damage(path):
                raise DamagedFileError(damage)

    def damage_of(self, path: Path) -> Damage | None:
        """What is wrong with an object that was stored; it is read again only after it changed."""
        return self._damage(path.resolve()) if self._checksum_file(path.resolve()).exists() else None

    def damage(self) -> list[Damage]:
        """Every object that is not what was stored."""
        return [damage for path in self._noted() if (damage := self._damage(path))]

    def adopt(self) -> int:
        """Give every object a checksum that has none; how many there were."""
        new = [path for path in self._folder.rglob(f"*{_SUFFIX}") if not path.name.startswith(".part-")]
        new = [path for path in new if path.is_file() and not self._checksum_file(path).exists()]
        for path in new:
            self._note(path)
        return len(new)

    def set_aside(self, path: Path) -> None:
        """Move a damaged object out of the folder, to ``damaged/segs``; nothing is lost, and its place is free."""
        path = path.resolve()
        if path.exists():
            folder = self._folder.parent / "damaged" / self._folder.name / path.parent.name
            make_folder(folder)
            number = 1
            while (aside := folder / f"{path.name}.damaged-{number}").exists():
                number += 1
            path.rename(aside)
            logger.warning("%s was damaged; it is kept as %s", path, aside)

    def _noted(self) -> Iterator[Path]:
        for file in sorted(self._checksums.rglob("*.sha256")):
            yield self._folder / file.relative_to(self._checksums).with_suffix("")

    def _damage(self, path: Path) -> Damage | None:
        try:
            line = self._checksum_file(path).read_text(encoding="ascii")
        except FileNotFoundError:
            if path.is_file():
                self._note(path)
            return None
        except (OSError, ValueError):
            line = ""
        noted = _LINE.fullmatch(line)
        problem = self._files.problem(path, noted[1]) if noted else "its checksum is damaged"
        if problem is None:
            return None
        told = (
            f"The DICOM object {path} is damaged: {problem}. It is not sent to anybody. One that this app made of a "
            "label is made again by itself; put any other back from a backup, or remove "
            f"{self._checksum_file(path)} to accept it as it is{' or its loss' if problem != CHANGED else ''}."
        )
        return Damage("DICOM SEG", path, told)

    def _note(self, path: Path) -> None:
        try:
            line = f"{sha256_of(path)}  {path.name}\n"
            target = self._checksum_file(path)
            if target.is_dir():
                move_aside(target)
            write_atomically(target, lambda part: part.write_text(line, encoding="ascii"))
        except OSError as error:  # the object is there, and gets its checksum when it is seen next
            logger.warning("No checksum of %s could be written: %s", path, error)

    def _checksum_file(self, path: Path) -> Path:
        return self._checksums / path.relative_to(self._folder).with_name(f"{path.name}.sha256")
