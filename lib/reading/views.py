"""What one user may see and do while a server serves a reader study: images, labels, models.

All routes ask the view of their user. Without a study everybody has the same one, which hides nothing. In a study, a
reader has only the own cases and, under MONAI Label's tag ``final``, the own labels; a reviewer of the study has only
the cases that wait for a decision, with the labels of the readers without their names; and who has no part in the
study has none of its cases. Only users with the role reviewer or admin who are neither readers nor reviewers of the
study see everything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from http import HTTPStatus
from typing import Any

import numpy as np

from lib.datastore.label_record import LabelRecord
from lib.datastore.label_store import LabelStore
from lib.datastore.label_view import LabelView
from lib.errors import UserError
from lib.reading.asked import incomplete_text, note_incomplete
from lib.reading.conclusions import ADJUDICATES, decision_of
from lib.reading.reading_list import Reading
from lib.reading.stored_readings import (
    INCOMPLETE,
    StudyLabels,
    check_label_tag,
    is_complete_reading,
    is_reading_of,
    is_study_tag,
    reading_tag,
)
from lib.reading.study_agreement import STUDY

FINAL = "final"


@dataclass(frozen=True)
class Submission:
    """Where a label that a user submits is stored, and with what.

    Attributes:
        tag: Tag of the label.
        info: Its information.
        seen: The labels after which its lesions are numbered; None for all.
        note: Returns what the information says besides, from the mask (X, Y, Z); raises a UserError to refuse it.
    """

    tag: str
    info: dict[str, Any]
    seen: LabelStore | None = None
    note: Callable[[np.ndarray], dict[str, Any]] | None = None


class View:
    """Everything: the view of all users of a server without a study.

    Attributes:
        labels: The labels that the user may see.
        restricted: Whether anything is hidden.
    """

    restricted = False

    def __init__(self, labels: LabelStore) -> None:
        self.labels = labels

    def shows(self, image: str) -> bool:
        """Return whether the user may see an image."""
        return True

    def images(self, images: Iterable[str]) -> list[str]:
        """Return those of some images that the user may see."""
        return [image for image in images if self.shows(image)]

    def check_model(self, image: str, *, by_clicks: bool) -> None:
        """Raise a UserError if the user may not run a model on an image.

        Args:
            image: The image.
            by_clicks: Whether the model outlines what the user clicks at, and not the whole image.
        """

    def submission(self, image: str, tag: str, info: Mapping[str, Any], patient: str) -> Submission:
        """Return how a label is stored.

        Args:
            image: The image.
            tag: Tag of the request.
            info: Information of the label.
            patient: PatientID.

        Raises:
            UserError: The user may not submit it.
        """
        check_label_tag(tag)
        return Submission(tag, {name: value for name, value in info.items() if name != ADJUDICATES})

    def draft_owner(self, username: str, image: str) -> str | None:
        """Return whose drafts of an image are offered: of the user, in a study of one reading of it.

        Args:
            username: Name of the user.
            image: The image.

        Returns:
            None if the user may not see the image.
        """
        return username if self.shows(image) else None

    def is_done(self, image: str) -> bool:
        """Return whether nothing is left to do with an image that the user may see: it has a final label."""
        return FINAL in self.labels.current(image)

    def next_image(self, images: Collection[str]) -> str | None:
        """Return the image that a study wants to be read next; None if there is none.

        Args:
            images: The images that the server has; a study may name others, of series that are not there yet.
        """
        return None

    def describe(self) -> dict[str, Any] | None:
        """Return what the viewer shows about the study; None without one."""
        return None


class StrangerView(View):
    """Images that are not in the study."""

    restricted = True

    def __init__(self, study: StudyLabels) -> None:
        super().__init__(LabelView(study.labels, self._selected))
        self._study = study

    def shows(self, image: str) -> bool:
        """Return whether an image is not in the study."""
        return image not in self._study.plan.readers_of_cases

    def submission(self, image: str, tag: str, info: Mapping[str, Any], patient: str) -> Submission:
        """Return how a label of another image is stored."""
        if not self.shows(image):
            raise no_image(image)
        return super().submission(image, tag, info, patient)

    def check_model(self, image: str, *, by_clicks: bool) -> None:
        """Raise a UserError for an image of the study."""
        if not self.shows(image):
            raise no_image(image)

    def _selected(self, image: str, records: list[LabelRecord]) -> dict[int, LabelRecord]:
        shown = records if self.shows(image) else []
        return {record.number: record for record in shown if not is_study_tag(record.tag)}


class ReaderView(View):
    """The cases of one reader that are open now, and the own labels of the present session.

    Args:
        study: Labels of the study.
        reader: User name.
        now: Seconds since 1970.
    """

    restricted = True

    def __init__(self, study: StudyLabels, reader: str, now: float) -> None:
        super().__init__(LabelView(study.labels, self._selected))
        self._study = study
        self._reader = reader
        self._now = now

    def shows(self, image: str) -> bool:
        """Return whether a case of the reader is open now."""
        return self._reading(image) is not None

    def check_model(self, image: str, *, by_clicks: bool) -> None:
        """Raise a UserError if the study does not show this model's result to its readers."""
        reading = self._open(image)
        if not reading.model_mask and not (by_clicks and self._study.plan.study.click_tool):
            raise UserError(
                "This case is read without the model: draw the outlines by hand"
                + (" or by clicks." if self._study.plan.study.click_tool else "."),
                HTTPStatus.FORBIDDEN,
            )

    def submission(self, image: str, tag: str, info: Mapping[str, Any], patient: str) -> Submission:
        """Return how the label of a reading is stored: with a tag of the reader's own."""
        reading, study = self._open(image), self._study.plan.study
        if tag != FINAL:
            raise UserError(f"In a study, labels are submitted with the tag final, not {tag!r}.")
        if decision_of(self._study, image):
            raise UserError("A reviewer has decided on this case; it is closed.", HTTPStatus.CONFLICT)
        hidden = {ADJUDICATES, *(() if reading.model_mask else ("model_version",))}
        kept = {name: value for name, value in info.items() if name not in hidden}
        noted = {
            "name": study.name,
            "session": reading.session,
            "model_mask": reading.model_mask,
            "patient": hashlib.sha256(f"{study.name}\n{patient}".encode()).hexdigest()[:16] if patient else "",
        }
        tag = reading_tag(study.name, self._reader, reading.session)
        return Submission(tag, {**kept, STUDY: noted}, self.labels, partial(note_incomplete, study.ask, kept))

    def draft_owner(self, username: str, image: str) -> str | None:
        """Return an owner for each reading, so that none shows what was painted in another or before the study."""
        reading = self._reading(image)
        return f"{username}\n{self._study.plan.study.name}\n{reading.session}" if reading else None

    def next_image(self, images: Collection[str]) -> str | None:
        """Return the case of the next reading that is due."""
        return next((reading.case for reading in self._due if reading.case in images), None)

    def describe(self) -> dict[str, Any]:
        """Return the study's name, the number of readings, those submitted, and what readers have to say and do."""
        study = self._study.plan.study
        return {
            "name": study.name,
            "role": "reader",
            "readings": len(self._study.plan.readings(self._reader)),
            "submitted": len(self._submitted),
            "due": len(self._due),
            "incomplete": {
                one.image_id: incomplete_text(one.info[INCOMPLETE])
                for one in self._study.incomplete()
                if one.info["user"] == self._reader and self.shows(one.image_id)
            },
            "ask": study.ask,
            "pause_seconds": study.pause_seconds,
        }

    @cached_property
    def _submitted(self) -> dict[tuple[str, int], float]:
        return self._study.submitted(self._reader)

    @cached_property
    def _due(self) -> list[Reading]:
        return self._study.plan.due(self._reader, self._submitted, self._now)

    def _reading(self, image: str) -> Reading | None:
        submitted = self._study.submitted_of_case(self._reader, image)
        return self._study.plan.current(self._reader, image, submitted, self._now)

    def _open(self, image: str) -> Reading:
        reading = self._reading(image)
        if reading is None:
            raise no_image(image)
        return reading

    def _selected(self, image: str, records: list[LabelRecord]) -> dict[int, LabelRecord]:
        """Return the own labels, numbered from 1: gaps would tell how many others have submitted.

        Those without what the study asks for have the tag ``incomplete``, so that they do not count as done.
        """
        reading, study = self._reading(image), self._study.plan.study.name
        own = [one for one in records if reading and is_reading_of(one, study, self._reader, reading.session)]
        return {
            one.number: replace(one, number=place, tag=FINAL if is_complete_reading(one) else INCOMPLETE)
            for place, one in enumerate(own, start=1)
        }


def no_image(image: str) -> UserError:
    """Return the error of a request for an image that the user may not see."""
    return UserError(f"There is no image {image!r} that you may see in this study.", HTTPStatus.NOT_FOUND)
