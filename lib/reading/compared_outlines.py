"""The two outlines that a preference study compares in each case, and what its readers are asked about them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from http import HTTPStatus

import numpy as np

from lib.datastore.label_record import LabelRecord
from lib.errors import UserError
from lib.evaluation.reader_lesions import ReaderLesion, match_reader_lesions
from lib.geometry.voxel_grid import VoxelGrid
from lib.reading.assignment import drawn_half
from lib.reading.preference_answers import Answer, Answers, Choice
from lib.reading.reading_list import StudyPlan
from lib.reading.stored_readings import StudyLabels, compared_tag
from lib.reading.study_agreement import patient_of

_CACHED_CASES = 100_000
WHOLE_CASE = 0  # number of the question about all lesions of a case
Letter = str
"""``A`` or ``B``: name of an outline for the reader, which tells nothing about whose it is."""


@dataclass(frozen=True)
class Question:
    """What a reader is asked: which outline is better.

    Attributes:
        lesion: Number of the lesion in the case, from 1; 0 for the whole case.
        voxel: A voxel (column, row, slice) to look at.
        extent_mm: Longest side of the box around the lesion in both outlines.
        volume_mm3: Mean volume of the lesion in the two outlines.
    """

    lesion: int
    voxel: tuple[int, int, int]
    extent_mm: float
    volume_mm3: float


class ComparedOutlines:
    """Outlines and answers of a preference study.

    Args:
        study: Labels of the workspace, with the plan of the study.
        answers: Answers of its readers.
    """

    def __init__(self, study: StudyLabels, answers: Answers) -> None:
        self.labels = study.labels
        self.plan: StudyPlan = study.plan
        self.answers = answers
        self._study = study
        self._questions = lru_cache(maxsize=_CACHED_CASES)(self._made_questions)

    def outlines(self, case: str) -> tuple[LabelRecord, LabelRecord] | None:
        """Return the two outlines of a case in the order of the study file; None until both are there, undamaged."""
        study, current = self.plan.study, self.labels.current(case)
        first, second = (current.get(compared_tag(study.name, source)) for source in study.compare)
        if first is None or second is None or first.info.get("size") != second.info.get("size"):
            return None  # also if the series changed in between
        return first, second

    def shown(self, case: str) -> str:
        """Return a name of the two outlines that are there now, which tells nothing of them; empty without."""
        both = self.outlines(case)
        if both is None:
            return ""
        name = f"{self.answers.secret} {case} {both[0].number} {both[1].number}"
        return hashlib.sha256(name.encode()).hexdigest()[:16]

    def questions(self, case: str) -> tuple[Question, ...]:
        """Return the questions about a case: none where both outlines are the same, or before both are there."""
        both = self.outlines(case)
        return self._questions(case, both[0].number, both[1].number) if both else ()

    def shown_as_a(self, reader: str, case: str) -> Choice:
        """Return which outline a reader sees as A: the first one in half of the cases, drawn at random."""
        cases = [one for one, readers in self.plan.readers_of_cases.items() if reader in readers]
        return "first" if case in drawn_half(self.plan.study, f"A {self.answers.secret}", reader, cases) else "second"

    def answered(self, reader: str, case: str) -> dict[int, Answer]:
        """Return the answers of a reader about a case, by lesion; those about outlines made anew since do not count."""
        both = self.outlines(case)
        numbers = tuple(one.number for one in both) if both else ()
        own = (one for one in self.answers.latest() if (one.reader, one.case) == (reader, case))
        return {one.lesion: one for one in own if one.labels == numbers}

    def is_due(self, reader: str, case: str) -> bool:
        """Return whether a reader has not answered all questions about a case."""
        answered = self.answered(reader, case).keys()
        return any(one.lesion not in answered for one in self.questions(case))

    def answer(
        self, reader: str, case: str, lesion: int, letter: str, active_seconds: float | None, shown: str
    ) -> Answer:
        """Store what a reader answered: ``A``, ``B`` or ``equal``.

        Raises:
            UserError: There is no such question or answer, or it is about outlines that were made anew since (409).
        """
        question = next((one for one in self.questions(case) if one.lesion == lesion), None)
        both = self.outlines(case)
        if question is None or both is None:
            known = ", ".join(str(one.lesion) for one in self.questions(case)) or "none"
            raise UserError(
                f"There is no question about lesion {lesion} of this case; there is {known}.", HTTPStatus.NOT_FOUND
            )
        if shown != self.shown(case):
            raise UserError(
                "The outlines of this case were made anew since they were shown. Open the case again to see them.",
                HTTPStatus.CONFLICT,
            )
        shown_as_a = self.shown_as_a(reader, case)
        made = Answer(
            study=self.plan.study.name,
            reader=reader,
            case=case,
            patient=patient_of(both[0]),
            lesion=lesion,
            first=self.plan.study.compare[0],
            second=self.plan.study.compare[1],
            shown_as_a="first" if shown_as_a == "first" else "second",
            choice=choice_of(letter, shown_as_a),
            labels=(both[0].number, both[1].number),
            volume_mm3=round(question.volume_mm3, 3),
            active_seconds=active_seconds,
            time=time.time(),
        )
        self.answers.add(made)
        return made

    def _made_questions(self, case: str, *_numbers: int) -> tuple[Question, ...]:
        both = self.outlines(case)
        assert both
        masks = [self._study.mask(one) for one in both]
        grid = self._study.grid(both[0])
        lesions = [
            (number, lesion)
            for number, lesion in enumerate(match_reader_lesions(masks), start=1)
            if not np.array_equal(*lesion.masks)
        ]
        if self.plan.study.per == "lesion" or not lesions:
            return tuple(_question(number, lesion, grid) for number, lesion in lesions)
        largest = max((one for _, one in lesions), key=lambda lesion: int(lesion.masks.sum()))
        volume = float(grid.voxel_mm3 * np.mean([mask.sum() for mask in masks]))
        return (replace(_question(WHOLE_CASE, largest, grid), volume_mm3=volume),)


def choice_of(letter: str, shown_as_a: Choice) -> Choice:
    """Return which outline a reader means.

    Args:
        letter: ``A``, ``B`` or ``equal``.
        shown_as_a: Which outline was A.

    Raises:
        UserError: The answer is none of them.
    """
    other: Choice = "second" if shown_as_a == "first" else "first"
    known: dict[str, Choice] = {"A": shown_as_a, "B": other, "equal": "equal"}
    if letter not in known:
        raise UserError(f"The answer must be A, B or equal, not {letter[:40]!r}.")
    return known[letter]


def letter_of(choice: Choice, shown_as_a: Choice) -> Letter:
    """Return the answer in the letters that the reader saw; the reverse of `choice_of`."""
    return choice if choice == "equal" else "A" if choice == shown_as_a else "B"


def _question(number: int, lesion: ReaderLesion, grid: VoxelGrid) -> Question:
    volume = float(grid.voxel_mm3 * lesion.masks.sum() / len(lesion.masks))
    sides = [length * mm for length, mm in zip(lesion.masks.shape[1:], grid.spacing, strict=True)]
    return Question(number, _middle(lesion), round(max(sides), 1), volume)


def _middle(lesion: ReaderLesion) -> tuple[int, int, int]:
    """Return the voxel of the two outlines that is closest to their centre."""
    places = np.argwhere(lesion.masks.any(axis=0))
    nearest = places[np.linalg.norm(places - places.mean(axis=0), axis=1).argmin()]
    x, y, z = (int(index) + side.start for index, side in zip(nearest, lesion.window, strict=True))
    return x, y, z
