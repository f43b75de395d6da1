"""The methods of MONAI Label's datastore interface that concern labels, over the label store."""

from __future__ import annotations

import io
from typing import Any

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from lib.datastore.label_info import author_of, flattened, info_with_note
from lib.datastore.label_review import (
    LabelReview,
    ReviewState,
    check_reviewer,
    is_trained_on,
    review_state,
    with_review,
)
from lib.datastore.label_store import LabelStore
from lib.errors import UserError
from lib.storage.integrity import Damage, DamagedFileError

_FINAL = DefaultLabelTag.FINAL.value


def described_label(labels: LabelStore, label_id: str, label_tag: str) -> dict[str, Any]:
    """Return the info of the latest label of a tag, as MONAI Label's clients expect it.

    Raises:
        UserError: There is no label.
        DamagedFileError: The label is damaged.
    """
    record = labels.latest(label_id, label_tag)
    return {
        **flattened(record.info),
        "number": record.number,
        "ts": int(record.time),
        "sha256": record.sha256,
        "name": labels.file_name(record),
    }


class StoredLabels(Datastore):
    """Labels of the images in ``list_images``, read from a `LabelStore`. The id of a label is that of its image."""

    labels: LabelStore
    review_required = False  # whether only approved labels are trained on

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Return the path of the latest label (NIfTI, uint8, on the grid of the image).

        Raises:
            UserError: There is no label.
            DamagedFileError: The file does not match its checksum.
        """
        return str(self.labels.path(self.labels.latest(label_id, label_tag)))

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> io.BytesIO:
        """Return the content of the latest label."""
        return io.BytesIO(self.labels.content(self.labels.latest(label_id, label_tag)))

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """Return the info of the latest label."""
        return described_label(self.labels, label_id, label_tag)

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add notes to the info of the latest label; fields set by this app are not changed."""
        self.labels.update_info(label_id, label_tag, lambda known: info_with_note(info, known))

    def note_label(self, label_id: str, label_tag: str, said: dict[str, Any], user: str | None) -> None:
        """Add the notes of a client to the latest label, with the user."""
        self.labels.update_info(label_id, label_tag, lambda known: {**info_with_note(said, known), "noted_by": user})

    def review_label(self, image_id: str, number: int, review: LabelReview) -> None:
        """Add a review to the final label of an image.

        Args:
            image_id: SeriesInstanceUID.
            number: Number of the label that the reviewer has seen.
            review: What the reviewer says.

        Raises:
            UserError: There is no such label, a later one has replaced it (409), or the reviewer has made it (403).
        """

        def reviewed(known: dict[str, Any]) -> dict[str, Any]:
            check_reviewer(author_of(known), review.by)
            return with_review(known, review)

        self.labels.update_info(image_id, _FINAL, reviewed, number=number)

    def review_of(self, image_id: str) -> ReviewState | None:
        """Return the state of the final label of an image; None without one, or if nobody has to review it."""
        record = self.labels.current(image_id).get(_FINAL)
        if record is None:
            return None
        return review_state(record, self.labels.history(image_id), required=self.review_required)

    def trained_on(self) -> list[str]:
        """Return the ids of the images whose final labels trainings use."""
        return [
            image_id
            for image_id in self.get_labeled_images()
            if (record := self.labels.current(image_id).get(_FINAL))
            and is_trained_on(record, required=self.review_required)
        ]

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
        """Return the ids of the images with a final label that is not damaged."""
        tag = label_tag or _FINAL
        present = set(self.list_images())
        return [
            image_id
            for image_id in self.labels.labelled_images()
            if image_id in present and tag in self.labels.current(image_id)
        ]

    def damaged_labels(self, tag: str = _FINAL) -> list[Damage]:
        """Return the damaged labels of this tag; their images count as unlabelled."""
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
        """Return the ids of the images without a final label."""
        labelled = set(self.get_labeled_images(label_tag, labels))
        return [image_id for image_id in self.list_images() if image_id not in labelled]
