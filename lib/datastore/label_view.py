"""The labels of a workspace as one user may see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import NoReturn

from lib.datastore.label_record import LabelRecord
from lib.datastore.label_store import LABEL_SUFFIX, FolderEntries, LabelStore
from lib.errors import UserError
from lib.storage.integrity import Damage

Select = Callable[[str, list[LabelRecord]], Mapping[int, LabelRecord]]


class LabelView(LabelStore):
    """Read-only labels with only those records that a user may see, so that code for all labels works for some.

    Args:
        store: All labels.
        select: Returns those of all records of an image that the user may see, by the number that they are stored
            under: with another tag, less info, or another number, if the own one would tell about hidden labels.
    """

    def __init__(self, store: LabelStore, select: Select) -> None:
        self._store = store
        self._select = select
        self._folder = store.folder
        self._files = store.files

    def images(self) -> list[str]:
        """Return the ids of the images with a visible label."""
        return [image_id for image_id in self._store.images() if self.history(image_id)]

    def file_name(self, record: LabelRecord) -> str:
        """Return the name of the label file of a submission, by its visible number."""
        return f"{record.number}{LABEL_SUFFIX}"

    def _seen(self, image_id: str) -> Mapping[int, LabelRecord]:
        """Return the visible records by the number that they are stored under."""
        return self._select(image_id, self._store.history(image_id))

    def _entries(self, image_id: str) -> FolderEntries:
        return FolderEntries(tuple(sorted(self._seen(image_id).values(), key=lambda record: record.number)))

    def _label_path(self, image_id: str, number: int) -> Path:
        for stored, record in self._seen(image_id).items():
            if record.number == number:
                return super()._label_path(image_id, stored)
        raise UserError(f"There is no label {number} of image {image_id}.", HTTPStatus.NOT_FOUND)

    def _damage(self, record: LabelRecord, what: str) -> Damage:
        """Return the damage in words that tell neither the number nor the place that the label is stored under."""
        return Damage(
            "label",
            self._label_path(record.image_id, record.number),
            f"Label {record.number} of image {record.image_id} is damaged: {what}. It is not used. Submit a new one, "
            "or ask who runs the server to restore it.",
        )

    def _blocking_file(self, folder: Path) -> Damage | None:
        damage = super()._blocking_file(folder)
        return damage and Damage(
            damage.kind, damage.path, "The server cannot store labels of this image. Tell who runs it."
        )

    def _next_number(self, image_id: str) -> NoReturn:
        raise TypeError("These labels are read-only; store new ones in the datastore.")

    def _write_record(self, record: LabelRecord) -> NoReturn:
        raise TypeError("These labels are read-only; change them in the datastore.")
