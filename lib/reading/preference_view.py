"""What a reader of a preference study sees: two outlines of each of the own cases, as A and B."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, NoReturn

from lib.datastore.label_record import LabelRecord
from lib.datastore.label_view import LabelView
from lib.errors import UserError
from lib.reading.compared_outlines import ComparedOutlines, letter_of
from lib.reading.views import View, no_image

_KEPT = ("voxels", "size", "grid")  # of the info of an outline; everything else may tell whose it is


class PreferenceView(View):
    """The cases of one reader, each with two outlines, of which only the names A and B are shown.

    Args:
        compared: Outlines and answers of the study.
        reader: User name.
    """

    restricted = True

    def __init__(self, compared: ComparedOutlines, reader: str) -> None:
        super().__init__(LabelView(compared.labels, self._selected))
        self._compared = compared
        self._reader = reader

    def shows(self, image: str) -> bool:
        """Return whether an image is a case of the reader whose outlines are there."""
        return self._is_own(image) and self._compared.outlines(image) is not None

    def check_model(self, image: str, *, by_clicks: bool) -> NoReturn:
        """Raise a UserError: what a model marks would tell which outline is its own."""
        raise UserError("In this study, outlines are compared; no model can be run.", HTTPStatus.FORBIDDEN)

    def submission(self, image: str, tag: str, info: Mapping[str, Any], patient: str) -> NoReturn:
        """Raise a UserError: readers of this study submit no labels."""
        raise UserError(
            "In this study, you say which of two outlines is better; no labels are submitted.", HTTPStatus.FORBIDDEN
        )

    def draft_owner(self, username: str, image: str) -> str | None:
        """Return an owner of drafts of this study only."""
        return f"{username}\n{self._compared.plan.study.name}" if self.shows(image) else None

    def is_done(self, image: str) -> bool:
        """Return whether the reader has answered all questions about a case, or there are none."""
        return not self._compared.is_due(self._reader, image)

    def next_image(self, images: Collection[str]) -> str | None:
        """Return the first case with a question that the reader has not answered."""
        return next((one for one in self._cases() if one in images and self._compared.is_due(self._reader, one)), None)

    def describe(self) -> dict[str, Any]:
        """Return the study's name, and how many cases the reader has, has answered, and can answer now."""
        study, cases, due = self._compared.plan.study, self._cases(), self._due()
        answered = [one for one in cases if self._compared.questions(one) and one not in due]
        return {
            "name": study.name,
            "role": "judge",
            "readings": len(cases),
            "submitted": len(answered),
            "due": len(due),
            "incomplete": {},
            "ask": [],
            "pause_seconds": study.pause_seconds,
        }

    def questions(self, image: str) -> list[dict[str, Any]]:
        """Return the questions about a case, each with the answer that the reader gave: ``A``, ``B`` or ``equal``.

        ``shown`` names the outlines that are asked about; an answer has to repeat it.
        """
        answered = self._compared.answered(self._reader, image) if self.shows(image) else {}
        shown = self._compared.shown(image)
        return [
            {
                "lesion": one.lesion,
                "shown": shown,
                "voxel": one.voxel,
                "extent_mm": one.extent_mm,
                "answer": letter_of(answered[one.lesion].choice, answered[one.lesion].shown_as_a)
                if one.lesion in answered
                else None,
            }
            for one in (self._compared.questions(image) if self.shows(image) else ())
        ]

    def answer(self, image: str, lesion: int, letter: str, active_seconds: float | None, shown: str) -> None:
        """Store an answer.

        Args:
            image: The case.
            lesion: Number of the question.
            letter: ``A``, ``B`` or ``equal``.
            active_seconds: Time without pauses.
            shown: Name of the outlines that the reader has seen, from the question.

        Raises:
            UserError: The image is not a case of the reader, there is no such question or answer, or it is about
                other outlines than those that are there now.
        """
        if not self.shows(image):
            raise no_image(image)
        self._compared.answer(self._reader, image, lesion, letter, active_seconds, shown)

    def _is_own(self, image: str) -> bool:
        return self._reader in self._compared.plan.readers_of_cases.get(image, ())

    def _cases(self) -> list[str]:
        return [reading.case for reading in self._compared.plan.readings(self._reader)]

    def _due(self) -> list[str]:
        return [case for case in self._cases() if self._compared.is_due(self._reader, case)]

    def _selected(self, image: str, records: list[LabelRecord]) -> dict[int, LabelRecord]:
        """Return the two outlines as labels 1 and 2, with nothing that tells whose they are or which came first."""
        both = self._compared.outlines(image) if self._is_own(image) else None
        if both is None:
            return {}
        ordered = both if self._compared.shown_as_a(self._reader, image) == "first" else both[::-1]
        time = max(one.time for one in both)
        return {
            one.number: replace(
                one,
                number=place,
                tag=letter,
                time=time,
                info={**{name: one.info[name] for name in _KEPT if name in one.info}, "annotator": f"outline {letter}"},
                dicom_seg={},
            )
            for place, (letter, one) in enumerate(zip("AB", ordered, strict=True), start=1)
        }
