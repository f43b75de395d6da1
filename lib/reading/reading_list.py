"""The readings of one reader: in which order, with or without the model's mask, and which of them is due."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lib.reading.assignment import drawn_half, random_key, readers_of_cases
from lib.reading.study_file import Study

_DAY_SECONDS = 24 * 60 * 60


@dataclass(frozen=True)
class Reading:
    """One case that a reader reads once.

    Attributes:
        case: SeriesInstanceUID.
        session: 1, or 2 for the second reading of a crossover.
        model_mask: Whether the model's mask is shown.
    """

    case: str
    session: int
    model_mask: bool


Submitted = Mapping[tuple[str, int], float]
"""Time of the first submission of a reader, seconds since 1970, by case and session."""


class StudyPlan:
    """Who reads what in a study, and when; computed once.

    Args:
        study: The study.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.readers_of_cases = readers_of_cases(study)
        self._readings = {reader: self._planned(reader) for reader in study.readers}

    def readings(self, reader: str) -> list[Reading]:
        """Return the readings of a reader in the order in which they are due; none of somebody else.

        In a crossover, all cases are read once and then all of them again, in another order. Half of the cases, drawn
        for each reader, are first read with the model's mask.
        """
        return [*self._readings.get(reader, {}).values()]

    def readings_of_case(self, reader: str, case: str) -> list[Reading]:
        """Return the readings of a case by a reader, by session."""
        planned = self._readings.get(reader, {})
        return [planned[case, session] for session in self.study.sessions if (case, session) in planned]

    def current(self, reader: str, case: str, submitted: Submitted, now: float) -> Reading | None:
        """Return the reading of a case that is open for a reader now.

        A submitted reading stays open for corrections until the second one of a crossover is due. During the wash-out
        it is closed, so that the reader does not see the case again.

        Args:
            reader: User name.
            case: SeriesInstanceUID.
            submitted: What the reader has submitted.
            now: Seconds since 1970.

        Returns:
            None if the case is not the reader's, or during the wash-out.
        """
        planned = self._readings.get(reader, {})
        second = planned.get((case, 2))
        if second is None or (case, 1) not in submitted:
            return planned.get((case, 1))
        return second if now >= self.due_again(submitted[case, 1]) else None

    def due(self, reader: str, submitted: Submitted, now: float) -> list[Reading]:
        """Return the readings that a reader has not submitted and may do now, the next one first."""
        return [
            reading
            for reading in self.readings(reader)
            if (reading.case, reading.session) not in submitted
            and self.current(reader, reading.case, submitted, now) == reading
        ]

    def due_again(self, first_submitted: float) -> float:
        """Return when the second reading of a crossover is due, from the time of the first one; seconds since 1970."""
        return first_submitted + self.study.washout_days * _DAY_SECONDS

    def _planned(self, reader: str) -> dict[tuple[str, int], Reading]:
        study = self.study
        cases = [case for case, readers in self.readers_of_cases.items() if reader in readers]
        first_with_mask = drawn_half(study, "half", reader, cases)
        return {
            (case, session): Reading(case, session, _shows_mask(study, session, case in first_with_mask))
            for session in study.sessions
            for case in _ordered(study, reader, session, cases)
        }


def _ordered(study: Study, reader: str, session: int, cases: list[str]) -> list[str]:
    if study.order == "listed":
        return cases
    return sorted(cases, key=lambda case: random_key(study, "order", reader, session, case))


def _shows_mask(study: Study, session: int, first_with_mask: bool) -> bool:
    if study.model_mask == "crossover":
        return first_with_mask == (session == 1)
    return study.model_mask == "with"
