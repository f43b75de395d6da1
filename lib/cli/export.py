"""``python main.py export``: latest final labels in clinical formats."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pydicom import Dataset

from lib.datastore.label_record import LabelRecord
from lib.datastore.opening import open_datastore
from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError
from lib.exports.label_exports import LabelExports
from lib.exports.lesion_table import as_csv, as_json
from lib.settings import Settings, is_url
from lib.storage.atomic import make_folder, write_atomically

_FINAL = "final"
_SEG, _SR, _RTSTRUCT, _NIFTI, _TABLE = "seg", "sr", "rtstruct", "nifti", "table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--studies", required=True, help="DICOM folder or DICOMweb URL, as the server was given")
    parser.add_argument("--workspace", help="as --conf workspace of the server")
    parser.add_argument("--output", required=True, type=Path, help="folder for the files; not the DICOM folder")
    parser.add_argument(
        "--format",
        nargs="+",
        choices=(_SEG, _SR, _RTSTRUCT, _NIFTI, _TABLE),
        default=[_SEG],
        help="DICOM SEG (default), RTSTRUCT, NIfTI: a file for each label; DICOM SR of its lesions, with a SEG where "
        "each is a segment; or a table of all lesions, CSV and JSON",
    )


def run(args: argparse.Namespace) -> int:
    """Write the files; a label that cannot be exported is reported and does not stop the others."""
    settings = Settings.from_conf(args.studies, {"workspace": args.workspace} if args.workspace else {})
    if not is_url(settings.studies) and args.output.resolve().is_relative_to(settings.studies):
        raise UserError(f"{args.output} is inside the DICOM folder, which is never written to. Choose another.")
    if not settings.labels_dir.is_dir():
        raise UserError(f"There are no labels in {settings.workspace}. Is --workspace that of the server?")
    datastore = _datastore(settings)
    records = [datastore.labels.latest(image_id, _FINAL) for image_id in datastore.get_labeled_images()]
    damaged = datastore.damaged_labels(_FINAL)
    for damage in damaged:
        print(f"not exported: {damage.problem}", file=sys.stderr)
    if not records and not damaged:
        raise UserError(f"No image of {settings.studies} has a final label in {settings.workspace}.")
    exports = LabelExports(datastore, settings.info)
    args.output.mkdir(parents=True, exist_ok=True)
    failed, tables = len(damaged), []
    writers: dict[str, Callable[[LabelRecord], object]] = {
        _SEG: lambda record: _write(args.output, record, ".seg.dcm", exports.dicom_seg(record)),
        _SR: lambda record: _write_report(args.output, record, exports),
        _RTSTRUCT: lambda record: _write(args.output, record, ".rtstruct.dcm", exports.rtstruct(record)),
        _NIFTI: lambda record: _write_bytes(_path(args.output, record, ".nii.gz"), datastore.labels.content(record)),
        _TABLE: lambda record: tables.append(exports.lesions(record)),
    }
    for number, record in enumerate(records, 1):
        print(f"{number} of {len(records)}: label {record.number} of {record.image_id}")
        for kind in dict.fromkeys(args.format):
            try:
                writers[kind](record)
            except (UserError, OSError, RuntimeError) as error:  # an unreachable PACS, a damaged file
                print(f"   no {kind}: {error}", file=sys.stderr)
                failed += 1
    if tables:
        for name, text in (("lesions.csv", as_csv(tables)), ("lesions.json", as_json(tables))):
            write_atomically(args.output / name, partial(Path.write_text, data=text, encoding="utf-8"))
    print(f"Research use only. Written to {args.output}" + (f"; {failed} could not be made." if failed else "."))
    return 1 if failed else 0


def _datastore(settings: Settings) -> SeriesDatastore:
    make_folder(settings.cache_dir)
    datastore = open_datastore(settings)
    if isinstance(datastore.client, FolderClient):
        datastore.client.scan()
    return datastore


def _write(folder: Path, record: LabelRecord, suffix: str, dataset: Dataset) -> None:
    write_atomically(_path(folder, record, suffix), lambda part: dataset.save_as(part, write_like_original=False))


def _write_bytes(path: Path, content: bytes) -> None:
    write_atomically(path, lambda part: part.write_bytes(content))


def _write_report(folder: Path, record: LabelRecord, exports: LabelExports) -> None:
    report, seg = exports.measurement_report(record)
    if seg is not None:
        _write(folder, record, ".lesions.seg.dcm", seg)
    _write(folder, record, ".sr.dcm", report)


def _path(folder: Path, record: LabelRecord, suffix: str) -> Path:
    return folder / f"{record.image_id}-{record.number}{suffix}"
