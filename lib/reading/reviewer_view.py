"""What a reviewer of a study sees and decides: the cases that readers differ on, without the names of the readers."""

from __future__ import annotations

import string
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from lib.datastore.label_record import LabelRecord
from lib.datastore.label_view import LabelView
from lib.errors import UserError
from lib.reading.assignment import random_key
from lib.reading.conclusions import ADJUDICATES, Conclusions, is_adjudicated, is_conclusion_of
from lib.reading.stored_readings import StudyLabels
from lib.reading.study_agreement import STUDY
from lib.reading.views import FINAL, Submission, View, no_image

_WITH_NAMES = {"annotator", "user", "client", "client_id", "noted_by", "reading", "note", STUDY}


@dataclass(frozen=True)
class _Compared:
    """A label of a reader as a reviewer sees it.

    Attributes:
        record: The label as it is stored.
        letter: Name of the reader in this case.
        number: Number that does not tell in which order the readers have submitted, but differs after a correction.
    """

    record: LabelRecord
    letter: str
    number: int

    def anonymous(self, time: float) -> LabelRecord:
        """Return the record without what tells who the reader is."""
        info = {name: value for name, value in self.record.info.items() if name not in _WITH_NAMES}
        named = {**info, "annotator": f"reader {self.letter}"}
        return replace(self.record, number=self.number, tag=f"reader-{self.letter}", time=time, info=named)


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
            raise no_image(image)
        compared = {one.number: one.record.number for one in self._compared(image)}
        named = info.get(ADJUDICATES)
        if tag != FINAL or named is None or sorted(named) != sorted(compared):
            raise UserError(
                f"The decision on this case needs the tag final and the parameter {ADJUDICATES} with the numbers of "
                f"the labels that it is about: {sorted(compared)}, not {named!r}. If a reader has submitted a new one, "
                "look at it first.",
                HTTPStatus.CONFLICT,
            )
        noted = {"name": self._study.plan.study.name}
        return Submission(FINAL, {**info, ADJUDICATES: sorted(compared.values()), STUDY: noted})

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
            "incomplete": {},
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
                "labels": [{"number": label.number, "reader": label.letter} for label in self._compared(case)],
            }
            for case, one in self._conclusions.disputed().items()
        ]

    def _selected(self, image: str, records: list[LabelRecord]) -> dict[int, LabelRecord]:
        if not self.shows(image):
            return {}
        compared = self._compared(image)
        name = self._study.plan.study.name
        decisions = [record for record in records if is_adjudicated(record) and is_conclusion_of(name, record)]
        last = max((one.number for one in compared), default=0)
        places = {record.number: last + place for place, record in enumerate(decisions, start=1)}
        seen = {one.record.number: one for one in compared}
        latest = max((one.record.time for one in compared), default=0)  # the time of each would tell who it was
        return {
            **{record.number: replace(record, number=places[record.number]) for record in decisions},
            **{number: one.anonymous(latest) for number, one in seen.items()},
        }

    def _compared(self, case: str) -> list[_Compared]:
        """Return the labels of a case in a random order that differs from case to case."""
        study, compared = self._study.plan.study, self._study.compared(case)
        mixed = sorted(compared, key=lambda one: random_key(study, "letter", case, one.record.tag))
        return [
            _Compared(one.record, _name_of(place), place + 1 + len(mixed) * (one.version - 1))
            for place, one in enumerate(mixed)
        ]


def _name_of(place: int) -> str:
    """Return A, B, … Z, A1, B1 …."""
    round_, letter = divmod(place, len(string.ascii_uppercase))
    return string.ascii_uppercase[letter] + (str(round_) if round_ else "")
