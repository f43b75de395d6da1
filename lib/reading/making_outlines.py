"""Worker that makes the outlines of a preference study with both versions of the model."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import SimpleITK as sitk

from lib.datastore.series_datastore import SeriesDatastore
from lib.errors import UserError, in_one_line
from lib.geometry.voxel_grid import VoxelGrid
from lib.inference import ModelDescription, Predictor, WeightsContent
from lib.processes.worker import Worker
from lib.publishing import ModelStore
from lib.publishing.model_store import PRETRAINED
from lib.reading.reading_list import StudyPlan
from lib.reading.stored_readings import compared_tag
from lib.reading.study_agreement import STUDY

logger = logging.getLogger(__name__)

LABEL = "label"  # the final label, beside the ids of versions
_FINAL = "final"
_PAUSE_SECONDS = 60


def check_compared(plan: StudyPlan, store: ModelStore) -> None:
    """Check that the versions exist that a preference study compares.

    Raises:
        UserError: One does not exist; the message names those that do.
    """
    shipped = [PRETRAINED] if store.weights(PRETRAINED).exists() else []
    known = [*shipped, *(one["version"] for one in store.manifests())]
    for source in plan.study.compare:
        if source not in (LABEL, *known):
            raise UserError(
                f"compare of the study names {source!r}, which is no version of the model; there is "
                f"{', '.join(known) or 'none'}, and {LABEL} for the final labels."
            )


class MakingOutlines(Worker):
    """Worker that stores the two outlines of each case of a preference study, each once.

    A version is run with the settings of the server, as for users. What was made stays as it is, also if a final label
    changes later, because readers compare it. A case is asked about when both outlines are there.

    Args:
        plan: The study.
        datastore: Images and labels.
        store: Versions of the model.
        model: The model without its weights.
        temporary_dir: Folder for temporary files.
        before_each: Called before each case; may block.
        on_thread: Called in the thread before the first case.
        after: Called with each case in each round, when its outlines may be there.
    """

    def __init__(
        self,
        plan: StudyPlan,
        datastore: SeriesDatastore,
        store: ModelStore,
        model: ModelDescription,
        temporary_dir: Path,
        *,
        before_each: Callable[[], object] = lambda: None,
        on_thread: Callable[[], object] = lambda: None,
        after: Callable[[str], object] = lambda case: None,
    ) -> None:
        super().__init__("outlines", failure="The outlines could not be made", pause=_PAUSE_SECONDS)
        self._plan = plan
        self._datastore = datastore
        self._store = store
        self._model = model
        self._temporary_dir = temporary_dir
        self._before_each = before_each
        self._on_thread = on_thread
        self._after = after
        self._reported: set[tuple[str, str]] = set()

    def prepare(self) -> None:
        """Set up the thread."""
        self._on_thread()

    def run_once(self) -> None:
        """Make the outlines that are missing."""
        study = self._plan.study
        present = {*self._datastore.list_images()}
        for source in study.compare:
            tag = compared_tag(study.name, source)
            missing = [one for one in study.cases if one in present and tag not in self._datastore.labels.in_use(one)]
            self._make_all(missing, source, tag)
        for case in study.cases:
            self.check_stopped()
            self._after(case)

    def _make_all(self, cases: Sequence[str], source: str, tag: str) -> None:
        try:
            predictor = self._predictor(source) if cases and source != LABEL else None
        except UserError as error:
            logger.warning("The study has no outlines of %s: %s", source, error)
            return
        for case in cases:
            self.check_stopped()
            self._before_each()
            self._make(case, source, tag, predictor)

    def _predictor(self, version: str) -> Predictor:
        return Predictor(self._model, WeightsContent(self._store.read(version), version))

    def _make(self, case: str, source: str, tag: str, predictor: Predictor | None) -> None:
        try:
            with self._datastore.volume_in_use(case), tempfile.TemporaryDirectory(dir=self._temporary_dir) as folder:
                image, file = Path(self._datastore.get_image_uri(case)), Path(folder) / "outline.nii.gz"
                if predictor is None:
                    shutil.copyfile(self._datastore.get_label_uri(case, _FINAL), file)
                else:
                    mask = predictor.predict(image)
                    sitk.WriteImage(VoxelGrid.from_file(image).image(mask.transpose()), str(file))
                self._datastore.save_label(case, str(file), tag, {STUDY: self._noted(case, source)})
        except Exception as error:  # whatever an odd case leads to: it must not stop the others
            if (case, source) not in self._reported:
                logger.warning("Case %s of the study has no outline of %s: %s", case, source, in_one_line(error))
            self._reported.add((case, source))
            return
        with suppress(KeyError):
            self._reported.remove((case, source))

    def _noted(self, case: str, source: str) -> dict[str, str]:
        name, patient = self._plan.study.name, self._datastore.series(case).value("PatientID")
        pseudonym = hashlib.sha256(f"{name}\n{patient}".encode()).hexdigest()[:16] if patient else ""
        return {"name": name, "source": source, "patient": pseudonym}
