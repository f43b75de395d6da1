"""What one user may see and do while a server serves a reader study: images, labels, models.

All routes ask the view of their user. Without a study everybody has the same one, which hides nothing. In a study, a
reader has only the own cases and, under MONAI Label's tag ``final``, the own labels; a reviewer of the study has only
the cases that wait for a decision, with the labels of the readers without their names; and who has no part in the
study has none of its cases. Only users with the role reviewer or admin who are neither readers nor reviewers of the
study see everything.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from http import HTTPStatus
from typing import Any

from lib.datastore.label_lesions import REJECTED, remarks_of
from lib.datastore.label_record import LabelRecord
from lib.datastore.label_store import LabelStore
from lib.datastore.label_view import LabelView
from lib.errors import UserError
from lib.reading.assignment import random_key
from lib.reading.conclusions import ADJUDICATES, Conclusions, is_adjudicated
from lib.reading.reading_list import Reading
from lib.reading.stored_readings import StudyLabels, check_label_tag, is_reading_of, is_reading_tag, reading_tag
from lib.reading.study_agreement import STUDY

FINAL = "final"
_WITH_NAMES = {"annotator", "user", "client", "client_id", "noted_by", "reading", "note", STUDY}


@dataclass(frozen=True)
class Submission:
    """Where a label that a user submits is stored, and with what.

    Attributes:
        tag: Tag of the label.
        info: Its information.
        seen: The labels after which its lesions are numbered; None for all.
    """

    tag: str
    info: dict[str, Any]
    seen: LabelStore | None = None


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
            raise _no_image(image)
        return super().submission(image, tag, info, patient)

    def check_model(self, image: str, *, by_clicks: bool) -> None:
        """Raise a UserError for an image of the study."""
        if not self.shows(image):
            raise _no_image(image)

    def _selected(self, record: LabelRecord) -> LabelRecord | None:
        return record if self.shows(record.image_id) and not is_reading_tag(record.tag) else None


class ReaderView(View):
    """The cases of one reader that are open now, and the own labels of the present session.

    Args:
        study: Labels of the study.
        reader: User name.
        now: Seconds since 1970.
    """

    restricted = True

    def __init__(self, study: StudyLabels, reader: str, now: float) -> None:
        super().__init__(LabelView(study.labels, self._selected, renumbered=True))
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
        if any(is_adjudicated(record) for record in self._study.labels.history(image)):
            raise UserError("A reviewer has decided on this case; it is closed.", HTTPStatus.CONFLICT)
        self._check_asked(info)
        hidden = {ADJUDICATES, *(() if reading.model_mask else ("model_version",))}
        kept = {name: value for name, value in info.items() if name not in hidden}
        noted = {
            "name": study.name,
            "session": reading.session,
            "model_mask": reading.model_mask,
            "patient": hashlib.sha256(f"{study.name}\n{patient}".encode()).hexdigest()[:16] if patient else "",
        }
        return Submission(reading_tag(self._reader, reading.session), {**kept, STUDY: noted}, self.labels)

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
            raise _no_image(image)
        return reading

    def _check_asked(self, info: Mapping[str, Any]) -> None:
        missing = {
            name
            for name in self._study.plan.study.ask
            for remark in remarks_of(info)
            if remark.state != REJECTED and not getattr(remark, name)
        }
        if missing:
            raise UserError(f"The study asks for the {' and the '.join(sorted(missing))} of each lesion.")

    def _selected(self, record: LabelRecord) -> LabelRecord | None:
        reading = self._reading(record.image_id)
        own = reading is not None and is_reading_of(record, self._reader, reading.session)
        return replace(record, tag=FINAL) if own else None


class ReviewerView(View):
    """The cases that a reviewer of the study decides on, with the labels of the readers without their names.

    Args:
        study: Labels of the study.
        conclusions: What the readings of each case lead to.
    """

    restricted = True

    def __init__(self, study: StudyLabels, conclusions: Conclusions) -> None:
        super().__init__(LabelView(study.labels, self._selected))
        self._study = study
        self._conclusions = conclusions

    def shows(self, image: str) -> bool:
        """Return whether readers differ on an image."""
        return image in self._conclusions.disputed()

    def submission(self, image: str, tag: str, info: Mapping[str, Any], patient: str) -> Submission:
        """Return how the decision of the reviewer is stored: as final label that names its sources."""
        if not self.shows(image):
            raise _no_image(image)
        compared = [one.record.number for one in self._study.compared(image)]
        named = info.get(ADJUDICATES)
        if tag != FINAL or named is None or sorted(named) != sorted(compared):
            raise UserError(
                f"The decision on this case needs the tag final and the parameter {ADJUDICATES} with the numbers of "
                f"the labels that it is about: {compared}, not {named!r}. If a reader has submitted a new one, look at "
                "it first.",
                HTTPStatus.CONFLICT,
            )
        return Submission(FINAL, dict(info))

    def next_image(self, images: Collection[str]) -> str | None:
        """Return the first case without a decision."""
        disputed = self._conclusions.disputed().items()
        return next((case for case, one in disputed if not one.decided and case in images), None)

    def describe(self) -> dict[str, Any]:
        """Return the study's name, and how many cases wait for a decision."""
        disputed = self._conclusions.disputed().values()
        return {
            "name": self._study.plan.study.name,
            "role": "reviewer",
            "readings": len(disputed),
            "submitted": sum(one.decided for one in disputed),
            "due": sum(not one.decided for one in disputed),
            "ask": [],
            "pause_seconds": self._study.plan.study.pause_seconds,
        }

    def cases(self) -> list[dict[str, Any]]:
        """Return the cases to decide on, each with its lesions that readers differ on and the labels of the readers."""
        return [
            {
                "image": case,
                "decided": one.decided,
                "lesions": [dict(vars(lesion)) for lesion in one.lesions],
                "labels": [
                    {"number": record.number, "reader": _letter(self._letters(case), record)}
                    for record in (reading.record for reading in self._study.compared(case))
                ],
            }
            for case, one in self._conclusions.disputed().items()
        ]

    def _selected(self, record: LabelRecord) -> LabelRecord | None:
        if not self.shows(record.image_id):
            return None
        if record.tag == FINAL:
            return record if is_adjudicated(record) else None
        letters = self._letters(record.image_id)
        compared = [one.record for one in self._study.compared(record.image_id)]
        if record.number not in [one.number for one in compared]:
            return None
        info = {name: value for name, value in record.info.items() if name not in _WITH_NAMES}
        letter = _letter(letters, record)
        latest = max(one.time for one in compared)  # the time of each would tell who it was
        return replace(record, tag=f"reader-{letter}", time=latest, info={**info, "annotator": f"reader {letter}"})

    def _letters(self, case: str) -> dict[str, str]:
        """Return a letter for each label of a case by its tag, in a random order that differs from case to case."""
        study = self._study.plan.study
        tags = [one.record.tag for one in self._study.compared(case)]
        mixed = sorted(tags, key=lambda tag: random_key(study, "letter", case, tag))
        return {tag: _name_of(place) for place, tag in enumerate(mixed)}


def _letter(letters: Mapping[str, str], record: LabelRecord) -> str:
    return letters[record.tag]


def _name_of(place: int) -> str:
    """Return A, B, … Z, A1, B1 …."""
    round_, letter = divmod(place, len(string.ascii_uppercase))
    return string.ascii_uppercase[letter] + (str(round_) if round_ else "")


def _no_image(image: str) -> UserError:
    return UserError(f"There is no image {image!r} that you may see in this study.", HTTPStatus.NOT_FOUND)
