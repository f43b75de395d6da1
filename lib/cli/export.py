"""``python main.py export``: latest final labels in clinical formats, and tables of the cases and their lesions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pydicom import Dataset

from lib.cli.arguments import add_formats, add_studies, check_output, formats_of
from lib.datastore.label_record import LabelRecord
from lib.datastore.opening import open_datastore
from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError
from lib.exports.case_rows import case_rows
from lib.exports.case_table import size_of_lesions
from lib.exports.formats import ExportFormat
from lib.exports.label_exports import LabelExports
from lib.exports.lesion_table import Row
from lib.exports.table_files import write_tables
from lib.followup.registration_store import RegistrationStore
from lib.settings import Settings
from lib.storage.atomic import make_folder, write_atomically

_FINAL = "final"
_TABLES = {ExportFormat.csv, ExportFormat.json}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_studies(parser)
    parser.add_argument("--workspace", help="as --conf workspace of the server")
    parser.add_argument("--output", required=True, type=Path, help="folder for the files; not the DICOM folder")
    add_formats(parser, default=[ExportFormat.seg])


def run(args: argparse.Namespace) -> int:
    """Write the files; a label that cannot be exported is reported and does not stop the others."""
    settings = Settings.from_conf(args.studies, {"workspace": args.workspace} if args.workspace else {})
    check_output(args.studies, args.output)
    formats = formats_of(args)
    if not settings.labels_dir.is_dir():
        raise UserError(f"There are no labels in {settings.workspace}. Is --workspace that of the server?")
    datastore = _datastore(settings)
    records = [datastore.labels.latest(image_id, _FINAL) for image_id in datastore.get_labeled_images()]
    damaged = datastore.damaged_labels(_FINAL)
    for damage in damaged:
        print(f"not exported: {damage.problem}", file=sys.stderr)
    if not records and not damaged and not _TABLES & {*formats}:
        raise UserError(
            f"No image of {settings.studies} has a final label in {settings.workspace}. --format csv lists the images."
        )
    args.output.mkdir(parents=True, exist_ok=True)
    registrations = RegistrationStore(datastore, settings.registrations_dir)
    export = _Export(LabelExports(datastore, settings.info, registrations), datastore, args.output)
    failed = len(damaged)
    for number, record in enumerate(records, 1):
        print(f"{number} of {len(records)}: label {record.number} of {record.image_id}")
        failed += export.write(record, formats)
    if _TABLES & {*formats}:
        summed = {about["series_instance_uid"]: size_of_lesions(lesions) for about, lesions in export.tables}
        write_tables(args.output, formats, export.tables, [*case_rows(datastore, summed)])
    print(f"Research use only. Written to {args.output}" + (f"; {failed} could not be made." if failed else "."))
    return 1 if failed else 0


def _datastore(settings: Settings) -> SeriesDatastore:
    make_folder(settings.cache_dir)
    datastore = open_datastore(settings)
    if isinstance(datastore.client, FolderClient):
        datastore.client.scan()
    return datastore


class _Export:
    """The files of one call, and what its tables will have."""

    def __init__(self, exports: LabelExports, datastore: SeriesDatastore, output: Path) -> None:
        self._exports = exports
        self._datastore = datastore
        self._output = output
        self.tables: list[tuple[dict[str, Any], list[Row]]] = []

    def write(self, record: LabelRecord, formats: tuple[ExportFormat, ...]) -> int:
        """Write one label in all formats, print what cannot be made, and return how many that are."""
        writers: dict[str, Callable[[LabelRecord], object]] = {
            ExportFormat.seg: self._seg,
            ExportFormat.lesion_seg: partial(self._report, wanted=ExportFormat.lesion_seg),
            ExportFormat.sr: partial(self._report, wanted=ExportFormat.sr),
            ExportFormat.rtstruct: self._rtstruct,
            ExportFormat.nifti: self._nifti,
        }
        failed = 0
        kinds = {kind.value: writers[kind] for kind in formats if kind not in _TABLES}
        if _TABLES & {*formats}:
            kinds["row in the tables"] = lambda record: self.tables.append(self._exports.lesions(record))
        for kind, write in kinds.items():
            try:
                write(record)
            except (UserError, OSError, RuntimeError) as error:  # an unreachable PACS, a damaged file
                print(f"   no {kind}: {error}", file=sys.stderr)
                failed += 1
        return failed

    def _seg(self, record: LabelRecord) -> None:
        self._save(record, ".seg.dcm", self._exports.dicom_seg(record))

    def _rtstruct(self, record: LabelRecord) -> None:
        self._save(record, ".rtstruct.dcm", self._exports.rtstruct(record))

    def _nifti(self, record: LabelRecord) -> None:
        content = self._datastore.labels.content(record)
        write_atomically(self._path(record, ".nii.gz"), lambda part: part.write_bytes(content))

    def _report(self, record: LabelRecord, wanted: ExportFormat) -> None:
        """Write the SR with the SEG that it refers to, or the SEG alone."""
        report, seg = self._exports.measurement_report(record)
        if seg is not None:
            self._save(record, ".lesions.seg.dcm", seg)
        if wanted == ExportFormat.sr:
            self._save(record, ".sr.dcm", report)

    def _save(self, record: LabelRecord, suffix: str, dataset: Dataset) -> None:
        path = self._path(record, suffix)
        write_atomically(path, lambda part: dataset.save_as(part, write_like_original=False))

    def _path(self, record: LabelRecord, suffix: str) -> Path:
        return self._output / f"{record.image_id}-{record.number}{suffix}"
