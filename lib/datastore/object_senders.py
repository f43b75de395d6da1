"""Who stored the DICOM objects that came from viewers; what an object says about its creator is not proven."""

from __future__ import annotations

import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

from lib.storage.state_file import StateFile


class ObjectSenders:
    """Users who were logged in when they stored objects, by SOPInstanceUID, in a file of the workspace; thread-safe.

    Args:
        path: JSON file.
    """

    def __init__(self, path: Path) -> None:
        self._file = StateFile(path, _parsed, "New labels of objects name the creator that the object names.")
        self._lock = threading.Lock()

    def of(self, sop_uid: str) -> str | None:
        """Return who stored an object; None if it did not come from a user who was logged in."""
        return (self._file.read() or {}).get(sop_uid)

    def note(self, sop_uids: Collection[str], user: str) -> list[str]:
        """Note who is about to store objects, and return the new ones; the first sender of an object stays."""
        with self._lock:
            known = self._file.read() or {}
            new = [uid for uid in dict.fromkeys(sop_uids) if uid not in known]
            if new:
                self._file.write({**known, **dict.fromkeys(new, user)})
        return new

    def forget(self, sop_uids: Collection[str]) -> None:
        """Forget objects that were not stored."""
        if not sop_uids:
            return
        with self._lock:
            self._file.write({uid: user for uid, user in (self._file.read() or {}).items() if uid not in sop_uids})


def _parsed(content: Any) -> dict[str, str]:
    return {str(uid): str(user) for uid, user in content.items()}
