"""Who stored the DICOM objects that came from viewers; what an object says about its creator is not proven."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from lib.errors import UserError
from lib.storage.state_file import StateFile

_MOST = 10_000  # objects; a label is made of one soon after it was stored, and has the user


class ObjectSenders:
    """Users who were logged in when they stored objects, by SOPInstanceUID, in a file of the workspace; thread-safe.

    Of more than 10,000 objects, the oldest are dropped.

    Args:
        path: JSON file.
    """

    def __init__(self, path: Path) -> None:
        self._file = StateFile(path, _parsed, "New labels of objects name the creator that the object names.")
        self._lock = threading.Lock()
        self._storing: set[str] = set()

    def of(self, sop_uid: str) -> str | None:
        """Return who stored an object; None if it did not come from a user who was logged in."""
        return (self._file.read() or {}).get(sop_uid)

    @contextlib.contextmanager
    def storing(self, sop_uids: Collection[str], user: str) -> Iterator[set[str]]:
        """Note who stores objects within the context; the first sender of an object stays.

        The sender is noted before, because a label may be made of an object as soon as it is stored.

        Args:
            sop_uids: SOPInstanceUIDs of the objects.
            user: Who stores them.

        Yields:
            A set for the UIDs of those that were stored; the others are forgotten.

        Raises:
            UserError: One of them is being stored for another request (409).
        """
        with self._lock:
            if busy := self._storing.intersection(sop_uids):
                raise UserError(
                    f"Instance {min(busy)} is being stored for another request. Send it again when that has ended.",
                    HTTPStatus.CONFLICT,
                )
            known = self._file.read() or {}
            new = {uid: user for uid in sop_uids if uid not in known}
            self._replace(known, {**known, **new})
            self._storing.update(sop_uids)
        stored: set[str] = set()
        try:
            yield stored
        finally:
            with self._lock:
                self._storing.difference_update(sop_uids)
                known = self._file.read() or {}
                refused = new.keys() - stored
                self._replace(known, {uid: name for uid, name in known.items() if uid not in refused})

    def _replace(self, known: dict[str, str], senders: dict[str, str]) -> None:
        if senders != known:
            self._file.write(dict([*senders.items()][-_MOST:]))


def _parsed(content: Any) -> dict[str, str]:
    return {str(uid): str(user) for uid, user in content.items()}
