"""The labels of the readers of a study, as the workspace has them.

Every reader submits under a tag of their own in each study, so that the labels of one never take the place of
another's, and each keeps all versions. Studies over the same workspace are told apart by their names. Only the label
that a study ends in has the tag ``final``, which is trained on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

import numpy as np

from lib.datastore.label_record import LabelRecord, read_voxels
from lib.datastore.label_store import LabelStore
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid
from lib.reading.reading_list import Reading, StudyPlan

_PREFIX = "reading-"
_COMPARED = "compared-"
_TAG = re.compile(rf"({_PREFIX}[0-9a-f]{{16}}-[12]|{_COMPARED}[0-9a-f]{{16}})")


INCOMPLETE = "incomplete"  # in the info of a label: what the study asks for and its reader did not say


def reading_tag(study: str, reader: str, session: int) -> str:
    """Return the tag of the labels of a reader in a session of a study; names may have characters that a tag may not.

    Args:
        study: Name of the study.
        reader: User name.
        session: 1 or 2.
    """
    return f"{_PREFIX}{_hash(study, reader)}-{session}"


def compared_tag(study: str, source: str) -> str:
    """Return the tag of the outlines that a preference study compares.

    Args:
        study: Name of the study.
        source: Version of the model, or ``label``.
    """
    return f"{_COMPARED}{_hash(study, source)}"


def is_study_tag(tag: str) -> bool:
    """Return whether a tag is that of a reader in a study, or of outlines that a study compares."""
    return _TAG.fullmatch(tag) is not None


def check_label_tag(tag: object) -> None:
    """Refuse a tag of a study in a request: only a study itself stores readings, for the reader who is logged in.

    Raises:
        UserError: The tag begins as those of studies do (403).
    """
    if isinstance(tag, str) and tag.startswith((_PREFIX, _COMPARED)):
        raise UserError(
            f"Tags that begin with {_PREFIX} or {_COMPARED} are kept for studies. Submit with the tag final, or "
            f"choose another name than {tag[:80]!r}.",
            HTTPStatus.FORBIDDEN,
        )


def _hash(*names: str) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def is_reading_of(record: LabelRecord, study: str, reader: str, session: int) -> bool:
    """Return whether a record is a label that a reader submitted in a session of a study, or withdraws one.

    A tag alone is no proof, because a program may have stored it before there was a study.
    """
    own = not record.sha256 or record.info.get("user") == reader
    return own and record.tag == reading_tag(study, reader, session)


def is_complete_reading(record: LabelRecord) -> bool:
    """Return whether a reader said with a label all that the study asks for, or it withdraws one."""
    return not record.info.get(INCOMPLETE)


@dataclass(frozen=True)
class StoredReading:
    """The latest label of a reader for one reading.

    Attributes:
        reader: User name.
        reading: Case, session, and whether the model's mask was shown.
        record: The label.
        first_submitted: When the reader submitted the case for the first time, seconds since 1970.
        version: 1, or more after corrections.
    """

    reader: str
    reading: Reading
    record: LabelRecord
    first_submitted: float
    version: int


class StudyLabels:
    """Labels of the readers of a study.

    Labels without what the study asks for are kept, but are no readings yet: they are neither counted nor compared.

    Args:
        labels: Labels of the workspace.
        plan: The study.
    """

    def __init__(self, labels: LabelStore, plan: StudyPlan) -> None:
        self.labels = labels
        self.plan = plan

    def submitted(self, reader: str) -> dict[tuple[str, int], float]:
        """Return when a reader submitted each case for the first time, seconds since 1970, by case and session."""
        return {
            (one.reading.case, one.reading.session): one.first_submitted
            for reading in self.plan.readings(reader)
            if (one := self._stored(reader, reading)) is not None
        }

    def submitted_of_case(self, reader: str, case: str) -> dict[tuple[str, int], float]:
        """Return when a reader submitted a case for the first time, by case and session; as `submitted` for all."""
        return {
            (case, reading.session): one.first_submitted
            for reading in self.plan.readings_of_case(reader, case)
            if (one := self._stored(reader, reading)) is not None
        }

    def is_complete(self, case: str) -> bool:
        """Return whether all readers of a case have submitted all their readings, and none of them is damaged."""
        readers = self.plan.readers_of_cases.get(case, ())
        wanted = sum(len(self.plan.readings_of_case(reader, case)) for reader in readers)
        return 0 < wanted == len(self.of_case(case))

    def of_case(self, case: str) -> list[StoredReading]:
        """Return the readings of a case that were submitted, by reader and session; damaged labels are left out."""
        found = (
            self._stored(reader, reading)
            for reader in self.plan.readers_of_cases.get(case, ())
            for reading in self.plan.readings_of_case(reader, case)
        )
        return [one for one in found if one is not None and not self.labels.damage_of(one.record)]

    def compared(self, case: str) -> list[StoredReading]:
        """Return one reading for each reader of a case: the one without the model's mask if there were two."""
        chosen = {one.reader: one for one in sorted(self.of_case(case), key=lambda one: not one.reading.model_mask)}
        return [chosen[reader] for reader in self.plan.readers_of_cases.get(case, ()) if reader in chosen]

    def incomplete(self) -> list[LabelRecord]:
        """Return the labels that wait for what the study asks for: newer than the reading that they would correct."""
        return [
            own[-1]
            for reader in self.plan.study.readers
            for reading in self.plan.readings(reader)
            if (own := self._of_reading(reader, reading)) and not is_complete_reading(own[-1])
        ]

    def all(self) -> Iterator[StoredReading]:
        """Yield all submitted readings."""
        for case in self.plan.study.cases:
            yield from self.of_case(case)

    def mask(self, record: LabelRecord) -> np.ndarray:
        """Return the mask of a label, shape (X, Y, Z), bool.

        Raises:
            DamagedFileError: The file does not match its checksum.
        """
        return read_voxels(self.labels.content(record)).transpose() > 0

    def grid(self, record: LabelRecord) -> VoxelGrid:
        """Return the voxel grid of a label.

        Raises:
            DamagedFileError: The file does not match its checksum.
        """
        return VoxelGrid.from_file(self.labels.path(record))

    def _stored(self, reader: str, reading: Reading) -> StoredReading | None:
        own = [one for one in self._of_reading(reader, reading) if is_complete_reading(one)]
        if not own or not own[-1].sha256:  # withdrawn
            return None
        submitted = [one for one in own if one.sha256]
        return StoredReading(reader, reading, own[-1], submitted[0].time, len(submitted))

    def _of_reading(self, reader: str, reading: Reading) -> list[LabelRecord]:
        history = self.labels.history(reading.case)
        return [one for one in history if is_reading_of(one, self.plan.study.name, reader, reading.session)]
