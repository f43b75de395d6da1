"""Which label each user began from, for clients that do not say so when they submit, such as 3D Slicer."""

from __future__ import annotations

import threading
from collections import OrderedDict

from fastapi import Request

from lib.datastore.label_store import LabelRecord, LabelStore
from lib.identity.authentication import Identity
from lib.server.stored_labels import label_in_use

_MOST = 100_000  # images of users


class SeenLabels:
    """Number of the label that a user has seen of each image; None where there was none. Thread-safe.

    In memory: after a restart of the server it is not known. Nobody is known while log-in is off.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[str, str], int | None] = OrderedDict()
        self._at_first: dict[str, int | None] = {}  # by image: number in use before the first one was stored

    def begin(self, request: Request, image: str, labels: LabelStore) -> None:
        """Note that a user gets an image, unless more is known: 3D Slicer does not load an image again that it has."""
        if user := _user_of(request):
            number = number_in_use(labels, image)
            with self._lock:
                self._seen.setdefault((user, image), number)
                self._seen.move_to_end((user, image))
                self._trim()

    def see(self, request: Request, image: str, number: int | None) -> None:
        """Note that a user gets a label of an image, has stored it, or was told of it.

        Args:
            request: A request of the user.
            image: SeriesInstanceUID.
            number: Number of the label, not of a newer one that is stored meanwhile; None if there is none.
        """
        if user := _user_of(request):
            with self._lock:
                self._seen[user, image] = number
                self._seen.move_to_end((user, image))
                self._trim()

    def unseen(self, request: Request, image: str, labels: LabelStore) -> LabelRecord | None:
        """Return the label in use if it was submitted since the server started and the user got nothing since.

        To be called before each label is stored, while nobody else stores one: the first call notes what was there.
        """
        record, user = label_in_use(labels, image), _user_of(request)
        number = record.number if record else None
        with self._lock:
            is_new = self._at_first.setdefault(image, number) != number
            return record if user and is_new and (user, image) not in self._seen else None

    def begun_from(self, request: Request, image: str) -> dict[str, int | None]:
        """Return ``begun_from`` with the number of the label that a user has seen; nothing if that is not known."""
        key = _user_of(request), image
        with self._lock:
            return {"begun_from": self._seen[key]} if key in self._seen else {}

    def _trim(self) -> None:
        while len(self._seen) > _MOST:
            self._seen.popitem(last=False)


def _user_of(request: Request) -> str:
    identity: Identity | None = getattr(request.state, "identity", None)
    return identity.name if identity else ""


def number_in_use(labels: LabelStore, image: str) -> int | None:
    """Return the number of the final or else the initial label of an image; None without one."""
    record = label_in_use(labels, image)
    return record.number if record else None
