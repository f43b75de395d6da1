"""The labels of a workspace as one user may see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from lib.datastore.label_record import LabelRecord
from lib.datastore.label_store import LABEL_SUFFIX, FolderEntries, LabelStore

Select = Callable[[LabelRecord], LabelRecord | None]


class LabelView(LabelStore):
    """Read-only labels with only those records that a user may see, so that code for all labels works for some.

    Args:
        store: All labels.
        select: Returns a record as the user sees it, with another tag or less info; None if it is hidden.
        renumbered: Whether the visible labels of an image are numbered from 1, because the gaps between their numbers
            would tell how many are hidden.
    """

    def __init__(self, store: LabelStore, select: Select, *, renumbered: bool = False) -> None:
        self._store = store
        self._select = select
        self._renumbered = renumbered
        self._folder = store.folder
        self._files = store.files

    def images(self) -> list[str]:
        """Return the ids of the images with a visible label."""
        return [image_id for image_id in self._store.images() if self.history(image_id)]

    def file_name(self, record: LabelRecord) -> str:
        """Return the name of the label file of a submission, by its visible number."""
        return f"{record.number}{LABEL_SUFFIX}"

    def _seen(self, image_id: str) -> list[LabelRecord]:
        """Return the visible records with the numbers that they are stored under."""
        seen = (self._select(record) for record in self._store.history(image_id))
        return [record for record in seen if record is not None]

    def _entries(self, image_id: str) -> FolderEntries:
        records = self._seen(image_id)
        if self._renumbered:
            records = [replace(record, number=number) for number, record in enumerate(records, start=1)]
        return FolderEntries(tuple(records))

    def _label_path(self, image_id: str, number: int) -> Path:
        stored = self._seen(image_id)[number - 1].number if self._renumbered else number
        return super()._label_path(image_id, stored)

    def _next_number(self, image_id: str) -> NoReturn:
        raise TypeError("These labels are read-only; store new ones in the datastore.")

    def _write_record(self, record: LabelRecord) -> NoReturn:
        raise TypeError("These labels are read-only; change them in the datastore.")
