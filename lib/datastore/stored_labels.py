"""The part of MONAI Label's datastore that is about labels: a history on disk."""

from __future__ import annotations

import io
from typing import Any

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from lib.datastore.label_facts import said_later, shown
from lib.datastore.label_store import LabelStore
from lib.errors import UserError
from lib.storage.integrity import Damage, DamagedFileError

_FINAL = DefaultLabelTag.FINAL.value


class StoredLabels(Datastore):
    """Labels of the images that ``list_images`` names, read from a `LabelStore`.

    The id of a label is the id of its image.
    """

    labels: LabelStore

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Return the path of the latest label (NIfTI, uint8, on the image's grid).

        Raises:
            UserError: There is none.
            DamagedFileError: It is not what was stored.
        """
        return str(self.labels.path(self.labels.latest(label_id, label_tag)))

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> io.BytesIO:
        """Return the content of the latest label."""
        return io.BytesIO(self.labels.content(self.labels.latest(label_id, label_tag)))

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """Return what is known of the latest label."""
        record = self.labels.latest(label_id, label_tag)
        return {
            **shown(record.info),
            "number": record.number,
            "ts": int(record.time),
            "sha256": record.sha256,
            "name": self.labels.file_name(record),
        }

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add what somebody says to what is known of the latest label; what this app knows stays."""
        self.labels.update_info(label_id, label_tag, lambda known: said_later(info, known))

    def note_label(self, label_id: str, label_tag: str, said: dict[str, Any], user: str | None) -> None:
        """Add what a client's user says of the latest label, with who it was."""
        self.labels.update_info(label_id, label_tag, lambda known: {**said_later(said, known), "noted_by": user})

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Take a label out of use; it stays in the history."""
        self.labels.withdraw(label_id, label_tag)

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Return the label id of each tag."""
        return dict.fromkeys(self.labels.current(image_id), image_id)

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """Return the label id of a tag, empty if there is none."""
        return self.get_labels_by_image_id(image_id).get(tag, "")

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Return the ids of the images that a person has labelled; without those whose label is damaged."""
        tag = label_tag or _FINAL
        present = set(self.list_images())
        return [
            image_id
            for image_id in self.labels.labelled_images()
            if image_id in present and tag in self.labels.current(image_id)
        ]

    def damaged_labels(self, tag: str = _FINAL) -> list[Damage]:
        """Return the damaged labels of this tag whose images are here; those images count as unlabelled."""
        found = []
        for image_id in sorted(set(self.list_images()) & set(self.labels.images())):
            try:
                self.labels.latest(image_id, tag)
            except DamagedFileError as error:
                found.append(error.damage)
            except UserError:
                continue
        return found

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Return the ids of the images that nobody has labelled yet."""
        labelled = set(self.get_labeled_images(label_tag, labels))
        return [image_id for image_id in self.list_images() if image_id not in labelled]
