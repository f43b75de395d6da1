"""``python main.py export``: latest final labels in clinical formats, and tables of the cases and their lesions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from lib.cli.arguments import add_formats, add_studies, add_workers, check_output, formats_of, workers_of
from lib.cli.output_folder import folder_of_run
from lib.cluster.tasks import run_tasks
from lib.cluster.workers import connected
from lib.cohort.label_files import Exported, LabelFiles, export_label, new_export_job
from lib.datastore.label_record import LabelRecord
from lib.datastore.opening import open_datastore
from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError
from lib.exports.case_rows import case_rows
from lib.exports.case_table import size_of_lesions
from lib.exports.formats import TABLES, ExportFormat
from lib.exports.table_files import write_tables
from lib.settings import Settings
from lib.storage.atomic import make_folder

_FINAL = "final"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_studies(parser)
    parser.add_argument("--workspace", help="folder of the workspace, as --conf workspace of the server")
    parser.add_argument("--output", required=True, type=Path, help="folder for the files; not the DICOM folder")
    add_formats(parser, default=[ExportFormat.seg])
    add_workers(parser)


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
    if not records and not damaged and not TABLES & {*formats}:
        raise UserError(
            f"No image of {settings.studies} has a final label in {settings.workspace}. --format csv lists the images."
        )
    args.output.mkdir(parents=True, exist_ok=True)
    failed, exported = len(damaged), {}
    for number, (record, one) in enumerate(_exported(args, settings, datastore, records), 1):
        print(f"{number} of {len(records)}: label {record.number} of {record.image_id}")
        for problem in one.problems:
            print(f"   {problem}", file=sys.stderr)
        failed += len(one.problems)
        exported[record.image_id] = one
    if TABLES & {*formats}:
        tables = [table for record in records if (table := exported[record.image_id].table)]
        summed = {about["series_instance_uid"]: size_of_lesions(lesions) for about, lesions in tables}
        write_tables(args.output, formats, tables, [*case_rows(datastore, summed)])
    print(f"Research use only. Written to {args.output}" + (f"; {failed} could not be made." if failed else "."))
    return 1 if failed else 0


def _exported(
    args: argparse.Namespace, settings: Settings, datastore: SeriesDatastore, records: Sequence[LabelRecord]
) -> Iterator[tuple[LabelRecord, Exported]]:
    """Yield what becomes of each label, in this process or in workers."""
    formats, workers = formats_of(args), workers_of(args)
    if workers is None or not records:
        files = LabelFiles(datastore, settings, args.output, formats)
        yield from ((record, files.write(record)) for record in records)
        return
    with folder_of_run(args.output) as work:
        job = new_export_job(settings, work, args.output, formats)
        with connected(workers, work / "workers") as client:
            for done in run_tasks(client, partial(export_label, job), records):
                yield done.item, done.result or Exported((f"nothing: {done.problem}",))


def _datastore(settings: Settings) -> SeriesDatastore:
    make_folder(settings.cache_dir)
    datastore = open_datastore(settings)
    if isinstance(datastore.client, FolderClient):
        datastore.client.scan()
    return datastore
