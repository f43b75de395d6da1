"""The labels of the readers of a study, as the workspace has them.

Every reader submits under a tag of their own, so that the labels of one never take the place of another's, and each
keeps all versions. Only the label that a study ends in has the tag ``final``, which is trained on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lib.datastore.label_record import LabelRecord, read_voxels
from lib.datastore.label_store import LabelStore
from lib.geometry.voxel_grid import VoxelGrid
from lib.reading.reading_list import Reading, StudyPlan

_TAG = re.compile(r"reading-[0-9a-f]{16}-[12]")


def reading_tag(reader: str, session: int) -> str:
    """Return the tag of the labels of a reader in a session; a name may have characters that a tag may not."""
    return f"reading-{hashlib.sha256(reader.encode()).hexdigest()[:16]}-{session}"


def is_reading_tag(tag: str) -> bool:
    """Return whether a tag is that of a reader in a study."""
    return _TAG.fullmatch(tag) is not None


@dataclass(frozen=True)
class StoredReading:
    """The latest label of a reader for one reading.

    Attributes:
        reader: User name.
        reading: Case, session, and whether the model's mask was shown.
        record: The label.
        first_submitted: When the reader submitted the case for the first time, seconds since 1970.
    """

    reader: str
    reading: Reading
    record: LabelRecord
    first_submitted: float


class StudyLabels:
    """Labels of the readers of a study.

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
        tag = reading_tag(reader, reading.session)
        record = self.labels.in_use(reading.case).get(tag)
        if record is None:
            return None
        first = next(one for one in self.labels.history(reading.case) if one.tag == tag)
        return StoredReading(reader, reading, record, first.time)
