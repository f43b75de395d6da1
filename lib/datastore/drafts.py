"""Drafts of labels: what users have painted and not submitted yet, for each owner and image."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import threading
import zlib
from pathlib import Path
from typing import Any

from lib.errors import UserError, in_one_line
from lib.storage.atomic import remove_leftovers, write_atomically
from lib.storage.json_values import check_sendable
from lib.storage.state_file import UNREADABLE, move_aside

logger = logging.getLogger(__name__)

_SESSION = re.compile(r"[a-z0-9-]{1,40}")
_SUFFIX = ".json.gz"
_OWNER = "owner.txt"  # in the folder of an owner: the name, which the name of the folder only resembles
_MOST_BYTES = 8 << 20  # of the JSON, which takes many times as much once it is parsed
_MOST_DRAFTS = 10  # of a user and image; each page of a browser has its own


class Drafts:
    """Drafts in a folder of the workspace, one file for each owner, image and page of a browser.

    The owner is a user, or in a reader study a user and a reading, so that none shows what was painted in another.
    Only the page knows what is in a draft: a JSON object, compressed with gzip, whose checksum tells damage.

    Args:
        folder: Folder of the drafts; it may be missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def keep(self, owner: str, image_id: str, session: str, content: bytes) -> None:
        """Keep a draft instead of the former one of the same page; of more than ten, the oldest are removed.

        Args:
            owner: Whose draft it is; others never see it.
            image_id: SeriesInstanceUID of a known image.
            session: Identifier of the page.
            content: JSON object, compressed with gzip.

        Raises:
            UserError: The content or the identifier is invalid.
        """
        try:
            _parsed(content)
        except (*UNREADABLE, zlib.error) as error:
            raise UserError(f"The draft is not a JSON object compressed with gzip: {in_one_line(error)}.") from None
        path = self._path(owner, image_id, session)
        with self._lock:
            if path.parent.is_dir():
                remove_leftovers(path.parent)
            write_atomically(path, lambda part: part.write_bytes(content))
            _make_newest(path)
            named = path.parent.parent / _OWNER
            if not named.exists():
                write_atomically(named, lambda part: part.write_bytes(owner.encode(errors="replace")))
            for old in self._newest_first(path.parent)[_MOST_DRAFTS:]:
                old.unlink()

    def latest(self, owner: str, image_id: str, session: str) -> tuple[dict[str, Any] | None, list[str]]:
        """Return the latest draft of an owner and image by another page, and a sentence for each damaged one.

        Damaged drafts are renamed, so that they are reported once.

        Args:
            owner: Whose draft it is.
            image_id: SeriesInstanceUID of a known image.
            session: Identifier of the page that asks, whose own draft does not count.
        """
        own = self._path(owner, image_id, session)
        problems: list[str] = []
        with self._lock:
            for path in self._newest_first(own.parent):
                if path == own:
                    continue
                try:
                    return _parsed(path.read_bytes()), problems
                except (*UNREADABLE, zlib.error) as error:
                    problems.append(_set_aside(path, error))
        return None, problems

    def drop(self, owner: str, image_id: str, session: str) -> None:
        """Remove the draft of a page, if there is one."""
        path = self._path(owner, image_id, session)
        with self._lock:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # missing, or not empty
                path.parent.rmdir()

    def images(self, owner: str) -> set[str]:
        """Return the images of which an owner has a draft."""
        folder = self._folder_of(owner)
        with self._lock:
            images = folder.iterdir() if folder.is_dir() else ()
            return {image.name for image in images if self._newest_first(image)}

    def owners(self, image_id: str) -> set[str]:
        """Return the owners who have a draft of an image; those of drafts by older versions of this app are unknown."""
        with self._lock:
            folders = self._folder.iterdir() if self._folder.is_dir() else ()
            return {
                (folder / _OWNER).read_text(encoding="utf-8", errors="replace")
                for folder in folders
                if (folder / _OWNER).is_file() and self._newest_first(folder / image_id)
            }

    def _path(self, owner: str, image_id: str, session: str) -> Path:
        if not _SESSION.fullmatch(session):
            raise UserError(f"{session[:50]!r} is no identifier of a page: up to 40 of a-z, 0-9 and '-'.")
        return self._folder_of(owner) / image_id / f"{session}{_SUFFIX}"

    def _folder_of(self, owner: str) -> Path:
        """Return the folder of an owner, whose name may have any characters."""
        readable = re.sub(r"[^A-Za-z0-9_-]", "_", owner)[:30]
        return self._folder / f"{readable}-{hashlib.sha256(owner.encode(errors='replace')).hexdigest()[:16]}"

    @staticmethod
    def _newest_first(folder: Path) -> list[Path]:
        found = folder.iterdir() if folder.is_dir() else ()
        drafts = [one for one in found if one.name.endswith(_SUFFIX) and not one.name.startswith(".")]
        return sorted(drafts, key=lambda one: one.stat().st_mtime_ns, reverse=True)


def _make_newest(path: Path) -> None:
    """Set the time of a draft after those of the others in its folder: the clock may have gone backwards."""
    times = {other: other.stat().st_mtime_ns for other in path.parent.iterdir()}
    if (latest := max(times.values())) > times[path]:
        os.utime(path, ns=(latest + 1, latest + 1))


def _parsed(content: bytes) -> dict[str, Any]:
    """Return the JSON object in compressed content; any damage raises an error."""
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    text = unpacker.decompress(content, _MOST_BYTES)
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("it is incomplete or too large")
    value = json.loads(text)
    check_sendable(value)
    if not isinstance(value, dict):
        raise ValueError(f"it is not a JSON object but {type(value).__name__}")
    return value


def _set_aside(path: Path, error: Exception) -> str:
    aside = move_aside(path)
    logger.warning("Draft %s is damaged (%s); it is kept as %s.", path, in_one_line(error), aside.name)
    return f"A draft of this scan is damaged and is ignored; the server keeps it as {aside.name}."
