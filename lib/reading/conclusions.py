"""What the readings of a case lead to: a final label by consensus, or a decision of a reviewer."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from lib.datastore.label_record import LabelRecord
from lib.datastore.series_datastore import SeriesDatastore
from lib.errors import UserError
from lib.processes.worker import Worker
from lib.reading.consensus import ConsensusMethod, consensus_label
from lib.reading.disagreement import Disagreement, disagreements
from lib.reading.stored_readings import StoredReading, StudyLabels
from lib.reading.study_agreement import STUDY, agreement_on_case

logger = logging.getLogger(__name__)

ADJUDICATES = "adjudicates"  # in the info of a final label: numbers of the labels that a reviewer decided between
CONSENSUS = "consensus"  # in the info of a final label: method, and numbers of the labels that it was made of
_FINAL = "final"
_PAUSE_SECONDS = 300


def is_adjudicated(record: LabelRecord) -> bool:
    """Return whether a label is the decision of a reviewer."""
    return record.tag == _FINAL and bool(record.sha256) and isinstance(record.info.get(ADJUDICATES), list)


def is_conclusion_of(study: str, record: LabelRecord) -> bool:
    """Return whether a label is a final one that a study ended in: by consensus, or the decision of a reviewer.

    Args:
        study: Name of the study.
        record: The label.
    """
    concludes = is_adjudicated(record) or (record.tag == _FINAL and isinstance(record.info.get(CONSENSUS), dict))
    noted = record.info.get(STUDY)
    return concludes and isinstance(noted, dict) and noted.get("name") == study


def conclusion_of(labels: StudyLabels, case: str) -> LabelRecord | None:
    """Return the final label that the study ended in for a case, unless it was withdrawn; None before.

    That of another study in the same workspace may be newer: it takes the place of this one in trainings only.
    """
    study = labels.plan.study.name
    finals = [one for one in labels.labels.history(case) if one.tag == _FINAL]
    own = [one for one in finals if not one.sha256 or is_conclusion_of(study, one)]
    return own[-1] if own and own[-1].sha256 else None


def decision_of(labels: StudyLabels, case: str) -> LabelRecord | None:
    """Return the decision of a reviewer of the study on a case; None before."""
    found = conclusion_of(labels, case)
    return found if found is not None and is_adjudicated(found) else None


@dataclass(frozen=True)
class Disputed:
    """A case that readers differ on.

    Attributes:
        numbers: Numbers of the labels that were compared.
        lesions: What they differ on.
        decided: Whether a reviewer has decided on these labels.
    """

    numbers: tuple[int, ...]
    lesions: tuple[Disagreement, ...]
    decided: bool = False


class Conclusions(Worker):
    """Worker that makes a final label of each case that all its readers have submitted.

    Where the readers agree, it is their consensus, which says what it was made of; of a single reader, it is the own
    label. Where they differ on a lesion, the case waits for a reviewer, and has no final label until then. What a
    reviewer decided is never replaced. The result depends on the stored labels only, so that nothing is lost or made
    twice after a restart.

    Args:
        study: Labels of the study.
        datastore: Stores the final labels.
        temporary_dir: Folder for temporary files.
        on_final: Called with each image that got a final label.
    """

    def __init__(
        self, study: StudyLabels, datastore: SeriesDatastore, temporary_dir: Path, on_final: Callable[[str], object]
    ) -> None:
        super().__init__("study", failure="The study could not be concluded", pause=_PAUSE_SECONDS)
        self._study = study
        self._datastore = datastore
        self._temporary_dir = temporary_dir
        self._on_final = on_final
        self._known: dict[str, Disputed] = {}
        self._agreed: dict[str, tuple[int, ...]] = {}
        self._lock = threading.Lock()

    def disputed(self) -> dict[str, Disputed]:
        """Return the cases that readers differ on, in the order of the study file."""
        with self._lock:
            known = dict(self._known)
        return {case: known[case] for case in self._study.plan.study.cases if case in known}

    def run_once(self) -> None:
        """Conclude all cases whose labels have changed."""
        for case in self._study.plan.study.cases:
            self.check_stopped()
            try:
                self._conclude(case)
            except (UserError, OSError) as error:
                logger.warning("Case %s of the study has no conclusion: %s", case, error)

    def _conclude(self, case: str) -> None:
        readings = self._study.compared(case)
        if not self._study.is_complete(case):
            return
        numbers = tuple(one.record.number for one in readings)
        decided = decision_of(self._study, case) is not None
        with self._lock:
            known = self._known.get(case)
        if (known and (known.numbers, known.decided) == (numbers, decided)) or self._agreed.get(case) == numbers:
            return
        lesions = disagreements(agreement_on_case(self._study, readings), self._study.plan.study.lowest_dice)
        if lesions or decided:
            self._dispute(case, Disputed(numbers, tuple(lesions), decided))
        else:
            self._agree(case, readings, numbers)

    def _dispute(self, case: str, disputed: Disputed) -> None:
        self._agreed.pop(case, None)
        final = self._study.labels.in_use(case).get(_FINAL)
        if final is not None and CONSENSUS in final.info and final == conclusion_of(self._study, case):
            # a reader has changed a label since
            self._study.labels.withdraw(case, _FINAL)
        with self._lock:
            self._known[case] = disputed

    def _agree(self, case: str, readings: list[StoredReading], numbers: tuple[int, ...]) -> None:
        study = self._study.plan.study
        made_of: dict[str, Any] = {"method": study.consensus if len(readings) > 1 else "single", "of": [*numbers]}
        if not any(one.info.get(CONSENSUS) == made_of for one in self._study.labels.history(case)):
            masks = np.stack([self._study.mask(one.record) for one in readings])
            grid = self._study.grid(readings[0].record)
            agreed = consensus_label(masks, grid.spacing, ConsensusMethod(study.consensus))
            self._store(
                case,
                grid.mask(np.ascontiguousarray(agreed.transpose())),
                {CONSENSUS: made_of, STUDY: {"name": study.name}},
            )
        self._agreed[case] = numbers
        with self._lock:
            self._known.pop(case, None)

    def _store(self, case: str, mask: sitk.Image, info: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory(dir=self._temporary_dir) as folder:
            file = Path(folder) / "consensus.nii.gz"
            sitk.WriteImage(mask, str(file))
            self._datastore.save_label(case, str(file), _FINAL, info)
        self._on_final(case)
