"""The labels of a workspace as one user may see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from lib.datastore.label_record import LabelRecord
from lib.datastore.label_store import FolderEntries, LabelStore

Select = Callable[[LabelRecord], LabelRecord | None]


class LabelView(LabelStore):
    """Read-only labels with only those records that a user may see, so that code for all labels works for some.

    Args:
        store: All labels.
        select: Returns a record as the user sees it, with another tag or less info; None if it is hidden.
    """

    def __init__(self, store: LabelStore, select: Select) -> None:
        self._store = store
        self._select = select
        self._folder = store.folder
        self._files = store.files

    def images(self) -> list[str]:
        """Return the ids of the images with a visible label."""
        return [image_id for image_id in self._store.images() if self.history(image_id)]

    def _entries(self, image_id: str) -> FolderEntries:
        seen = (self._select(record) for record in self._store.history(image_id))
        return FolderEntries(tuple(record for record in seen if record is not None))

    def _next_number(self, image_id: str) -> NoReturn:
        raise TypeError("These labels are read-only; store new ones in the datastore.")

    def _write_record(self, record: LabelRecord) -> NoReturn:
        raise TypeError("These labels are read-only; change them in the datastore.")
