"""Files of one exported label, in this process or in a worker."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydicom import Dataset

from lib.cohort.shared_index import share_index, workspace_of_worker
from lib.datastore.label_record import LabelRecord
from lib.datastore.opening import open_datastore
from lib.datastore.series_datastore import SeriesDatastore
from lib.errors import UserError, in_one_line
from lib.exports.formats import SUFFIXES, TABLES, ExportFormat
from lib.exports.label_exports import LabelExports
from lib.exports.lesion_table import Row
from lib.followup.registration_store import RegistrationStore
from lib.settings import Settings
from lib.storage.atomic import make_folder, write_atomically

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """What became of one label.

    Attributes:
        problems: For each format that could not be made, its name and why.
        table: What its lesion table begins with, and its rows; None if it failed or no table was asked for.
    """

    problems: tuple[str, ...]
    table: tuple[dict[str, Any], list[Row]] | None = None


@dataclass(frozen=True)
class ExportJob:
    """What a worker needs to know once for all labels.

    Attributes:
        studies: DICOM folder or DICOMweb URL without user and password, the same for all workers.
        workspace: That of the server, read only but for registrations; the same for all workers.
        shared: Folder of the run with the index of a folder; the same for all workers.
        output: Folder of the results; the same for all workers.
        formats: Formats of the results.
    """

    studies: str
    workspace: Path
    shared: Path
    output: Path
    formats: tuple[ExportFormat, ...]


class LabelFiles:
    """Writer of the files of labels.

    Args:
        datastore: Images and labels.
        settings: Settings of the server.
        output: Folder of the files.
        formats: Their formats.
    """

    def __init__(
        self, datastore: SeriesDatastore, settings: Settings, output: Path, formats: Sequence[ExportFormat]
    ) -> None:
        registrations = RegistrationStore(datastore, settings.registrations_dir)
        self._exports = LabelExports(datastore, settings.info, registrations)
        self._datastore = datastore
        self._output = output
        self._formats = formats

    def write(self, record: LabelRecord) -> Exported:
        """Write one label in all formats; what cannot be made does not stop the others."""
        writers: dict[ExportFormat, Callable[[LabelRecord], None]] = {
            ExportFormat.seg: self._seg,
            ExportFormat.lesion_seg: partial(self._report, wanted=ExportFormat.lesion_seg),
            ExportFormat.sr: partial(self._report, wanted=ExportFormat.sr),
            ExportFormat.rtstruct: self._rtstruct,
            ExportFormat.nifti: self._nifti,
        }
        problems: list[str] = []

        def attempt(name: str, make: Callable[[LabelRecord], Any]) -> Any:
            try:
                return make(record)
            except UserError as error:
                problems.append(f"no {name}: {error}")
            except Exception as error:  # of the series, its files or the PACS; the other labels can be exported
                logger.exception("Label %d of %s was not exported as %s", record.number, record.image_id, name)
                problems.append(f"no {name}: {in_one_line(error)}")
            return None

        for kind in self._formats:
            if kind not in TABLES:
                attempt(kind.value, writers[kind])
        table = attempt("row in the tables", self._exports.lesions) if TABLES & {*self._formats} else None
        return Exported(tuple(problems), table)

    def _seg(self, record: LabelRecord) -> None:
        self._save(record, ExportFormat.seg, self._exports.dicom_seg(record))

    def _rtstruct(self, record: LabelRecord) -> None:
        self._save(record, ExportFormat.rtstruct, self._exports.rtstruct(record))

    def _nifti(self, record: LabelRecord) -> None:
        content = self._datastore.labels.content(record)
        write_atomically(self._path(record, ExportFormat.nifti), lambda part: part.write_bytes(content))

    def _report(self, record: LabelRecord, wanted: ExportFormat) -> None:
        """Write the SR with the SEG that it refers to, or the SEG alone."""
        report, seg = self._exports.measurement_report(record)
        if seg is not None:
            self._save(record, ExportFormat.lesion_seg, seg)
        if wanted == ExportFormat.sr:
            self._save(record, ExportFormat.sr, report)

    def _save(self, record: LabelRecord, kind: ExportFormat, dataset: Dataset) -> None:
        path = self._path(record, kind)
        write_atomically(path, lambda part: dataset.save_as(part, write_like_original=False))

    def _path(self, record: LabelRecord, kind: ExportFormat) -> Path:
        return self._output / f"{record.image_id}-{record.number}{SUFFIXES[kind]}"


def new_export_job(settings: Settings, shared: Path, output: Path, formats: Sequence[ExportFormat]) -> ExportJob:
    """Return the job of an export, and copy the index of a folder for its workers."""
    make_folder(settings.registrations_dir)
    share_index(settings.cache_dir, shared)
    return ExportJob(settings.studies, settings.workspace, shared.resolve(), output.resolve(), tuple(formats))


def export_label(job: ExportJob, record: LabelRecord) -> Exported:
    """Write the files of a label; called in a worker."""
    return _files(job).write(record)


@functools.lru_cache(maxsize=1)
def _files(job: ExportJob) -> LabelFiles:
    """Open the labels once for all of a job, with an index and volumes of this worker's own."""
    origin, work = Settings.from_conf(job.studies, {"workspace": str(job.workspace)}), workspace_of_worker(job.shared)
    settings = Settings.from_conf(job.studies, {"workspace": str(work)})
    for mine, theirs in (
        (settings.labels_dir, origin.labels_dir),
        (settings.segs_dir, origin.segs_dir),
        (settings.registrations_dir, origin.registrations_dir),
    ):
        mine.symlink_to(theirs, target_is_directory=True)
    datastore = open_datastore(settings)
    datastore.list_images()
    return LabelFiles(datastore, settings, job.output, job.formats)
