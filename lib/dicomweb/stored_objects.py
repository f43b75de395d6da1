"""DICOM objects of the workspace, and their checksums."""

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
    """Files ``<study>/<instance>.dcm`` with checksums in the format of ``sha256sum``.

    The checksums are in ``checksums/segs``, outside of the indexed folder. An object without checksum, written by an
    older version of this app or copied there by a user, gets one when it is first accessed. Safe for use by several
    threads and processes.

    Args:
        folder: Folder of the objects.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._checksums = self._folder.parent / "checksums" / self._folder.name
        self._files = WatchedFiles()

    def path_of(self, study_uid: str, sop_uid: str) -> Path:
        """Return the path of an instance; both UIDs must be valid."""
        return self._folder / study_uid / f"{sop_uid}{_SUFFIX}"

    def write(self, path: Path, write: Callable[[Path], Any]) -> None:
        """Store an object and its checksum."""
        write_atomically(path, write)
        self._write_checksum(path.resolve())

    def check(self, path: Path) -> None:
        """Compare an object with its checksum; files outside of the folder are ignored.

        Raises:
            DamagedFileError: The object is damaged.
        """
        path = path.resolve()
        if path.is_relative_to(self._folder):
            self._files.forget(path)
            if damage := self._damage(path):
                raise DamagedFileError(damage)

    def damage_of(self, path: Path) -> Damage | None:
        """Return the damage to a stored object, or None; the object is read again only after it changed."""
        return self._damage(path.resolve()) if self._checksum_file(path.resolve()).exists() else None

    def damage(self) -> list[Damage]:
        """Return the damage to each damaged object."""
        return [damage for path in self._recorded() if (damage := self._damage(path))]

    def adopt(self) -> int:
        """Write checksums for all objects without one, and return their number."""
        new = [path for path in self._folder.rglob(f"*{_SUFFIX}") if not path.name.startswith(".part-")]
        new = [path for path in new if path.is_file() and not self._checksum_file(path).exists()]
        for path in new:
            self._write_checksum(path)
        return len(new)

    def move_damaged_aside(self, path: Path) -> None:
        """Move a damaged object to ``damaged/segs``, so that it can be written again."""
        path = path.resolve()
        if path.exists():
            folder = self._folder.parent / "damaged" / self._folder.name / path.parent.name
            make_folder(folder)
            number = 1
            while (aside := folder / f"{path.name}.damaged-{number}").exists():
                number += 1
            path.rename(aside)
            logger.warning("%s was damaged; it is kept as %s", path, aside)

    def _recorded(self) -> Iterator[Path]:
        """Yield the path of every object that has a checksum."""
        for file in sorted(self._checksums.rglob("*.sha256")):
            yield self._folder / file.relative_to(self._checksums).with_suffix("")

    def _damage(self, path: Path) -> Damage | None:
        try:
            line = self._checksum_file(path).read_text(encoding="ascii")
        except FileNotFoundError:
            if path.is_file():
                self._write_checksum(path)
            return None
        except (OSError, ValueError):
            line = ""
        recorded = _LINE.fullmatch(line)
        problem = self._files.problem(path, recorded[1]) if recorded else "its checksum is damaged"
        if problem is None:
            return None
        message = (
            f"The DICOM object {path} is damaged: {problem}. It is not sent to clients. An object that this app made "
            "from a label is written again automatically; restore any other from a backup, or remove "
            f"{self._checksum_file(path)} to accept it as it is{' or its loss' if problem != CHANGED else ''}."
        )
        return Damage("DICOM SEG", path, message)

    def _write_checksum(self, path: Path) -> None:
        try:
            line = f"{sha256_of(path)}  {path.name}\n"
            target = self._checksum_file(path)
            if target.is_dir():
                move_aside(target)
            write_atomically(target, lambda part: part.write_text(line, encoding="ascii"))
        except OSError as error:  # the object exists, and gets its checksum at the next access
            logger.warning("The checksum of %s could not be written: %s", path, error)

    def _checksum_file(self, path: Path) -> Path:
        return self._checksums / path.relative_to(self._folder).with_name(f"{path.name}.sha256")
