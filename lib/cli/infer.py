"""``python main.py infer``: batch inference of the serving model on every usable series of a folder or PACS.

A run uses a copy of the weights, so that one version makes all masks even if another is published meanwhile.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydicom import Dataset

from lib.app import MyApp
from lib.cli.arguments import add_formats, add_studies, check_output, formats_of
from lib.configs.lung_tumor import LungTumor
from lib.datastore.catalog import Series
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError, in_one_line
from lib.exports.case_rows import case_row
from lib.exports.case_table import EXCLUDED, FAILED, PREDICTED, CaseRow, size_of_lesions
from lib.exports.formats import ExportFormat
from lib.exports.lesion_table import MeasuredLesion
from lib.exports.prediction_exports import Prediction, PredictionExports
from lib.exports.table_files import write_tables
from lib.inference.findings import findings_from_json
from lib.publishing import ModelStore
from lib.publishing.model_store import PRETRAINED, PRETRAINED_FILE
from lib.publishing.stores import SEGMENTATION, model_stores
from lib.publishing.version_files import WEIGHTS_FILE
from lib.settings import APP_DIR, Settings
from lib.storage.atomic import write_atomically, write_json

_IRRELEVANT = ("attention", "batch_size")  # settings that do not affect masks
_TABLES = {ExportFormat.csv, ExportFormat.json}
_SUFFIXES = {
    ExportFormat.seg: ".seg.dcm",
    ExportFormat.lesion_seg: ".lesions.seg.dcm",
    ExportFormat.sr: ".sr.dcm",
    ExportFormat.rtstruct: ".rtstruct.dcm",
    ExportFormat.nifti: ".nii.gz",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_studies(parser)
    parser.add_argument("--output", required=True, type=Path, help="folder for the results; not the DICOM folder")
    add_formats(parser, default=[ExportFormat.seg, ExportFormat.csv, ExportFormat.json])
    parser.add_argument(
        "--workspace",
        help="workspace of the server whose model is used, read-only (default: that of these studies; without one, the "
        "shipped weights)",
    )
    parser.add_argument(
        "--conf", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a setting, as of the server"
    )


def run(args: argparse.Namespace) -> int:
    """Segment the unfinished series; return 1 if anything failed."""
    conf, work = dict(args.conf), args.output / ".lunglabel"
    if "workspace" in conf:
        raise UserError(
            "--conf workspace is for the server and its labels; this command writes only to --output. To use the "
            "model of a server's workspace: --workspace DIR."
        )
    check_output(args.studies, args.output)
    # The app exits the process if it cannot start, so the settings are checked first.
    server = Settings.from_conf(args.studies, conf | ({"workspace": args.workspace} if args.workspace else {}))
    conf |= {"workspace": str(work), "model_dir": str(work / "model")}
    try:
        _pin(model_stores(server)[SEGMENTATION], work)
        return _Batch(MyApp(str(APP_DIR), args.studies, conf), args).run()
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _pin(store: ModelStore, work: Path) -> None:
    """Copy the weights in use into the workspace of this run, and print their version.

    Raises:
        UserError: There are no weights in use.
    """
    serving, content = store.read_serving()
    if serving.problem:
        print(serving.problem)
    print(f"Model version {serving.version}, {serving.path}", flush=True)
    copy = work / "model" / (PRETRAINED_FILE if serving.version == PRETRAINED else WEIGHTS_FILE)
    write_atomically(copy, lambda part: part.write_bytes(content))
    if serving.version != PRETRAINED:
        origin = next(one for one in store.manifests() if one["version"] == serving.version)
        run = ModelStore(work / "models")
        run.adopt(copy.parent, origin)
        run.serve(str(serving.version), why="pinned")


class _Batch:
    """A run. Each series is finished once its record ``<SeriesInstanceUID>.json`` is written, after its results."""

    def __init__(self, app: MyApp, args: argparse.Namespace) -> None:
        self._app = app
        self._datastore = app.datastore()
        self._output: Path = args.output
        self._formats = sorted(formats_of(args))
        self._tables = [kind for kind in self._formats if kind in _TABLES]
        self._made_by = _made_by(app)

    def run(self) -> int:
        problems = self._list()
        everything = sorted(self._datastore.catalog.all(), key=lambda series: (series.value("PatientID"), series.uid))
        usable = [series for series in everything if series.problem is None]
        tables, cases, failures = [], [], []
        for number, series in enumerate(usable, 1):
            about = f"{number} of {len(usable)}  {series.value('PatientID') or '(no id)'}  {series.uid}"
            try:
                record = self._finished(series)
                said = "finished before" if record else None
                record = record or self._segment(series)
            except Exception as error:  # a failure of one series or the PACS must not stop the others
                reason = str(error) if isinstance(error, UserError) else in_one_line(error)
                failures.append(f"{series.uid}: {reason}")
                cases.append(case_row(self._datastore, series, state=FAILED, problem=reason))
                print(f"{about}: failed, {reason}", flush=True)
                continue
            print(f"{about}: {said or 'done'}, {record['voxels']} voxels marked", flush=True)
            for warning in record["warnings"]:
                print(f"    {warning}")
            failures += [f"{series.uid}: no {kind}: {reason}" for kind, reason in record["not_made"].items()]
            if self._tables:
                lesions = [MeasuredLesion(**lesion) for lesion in record["lesions"]]
                tables.append((record["about"], lesions))
                cases.append(self._case(series, record, lesions))
        if self._tables:
            cases += [
                case_row(self._datastore, series, state=EXCLUDED, problem=series.problem)
                for series in everything
                if series.left_out
            ]
            write_tables(self._output, self._tables, tables, cases)
        left_out = [f"{series.uid}: {series.problem}" for series in everything if series.problem]
        _print_all(f"{len(left_out)} series excluded", left_out)
        _print_all(
            "Other files (`python main.py doctor` names them)",
            (f"{count}: {reason}" for reason, count in problems.most_common()),
        )
        _print_all(f"{len(failures)} could not be made; the same command tries again", failures)
        print(f"Research use only. {len(usable)} usable series; results in {self._output}")
        return 1 if failures else 0

    def _list(self) -> Counter[str]:
        """List the series, and return the number of other files by reason."""
        client = self._datastore.client
        if isinstance(client, FolderClient):
            client.scan(lambda done, total: print(f"Read {done} of {total} files", flush=True))
        try:
            self._datastore.list_images()
        except Exception as error:  # any failure of the network or the PACS
            raise UserError(f"{self._datastore.name()} does not respond as DICOMweb: {error}") from error
        return (
            Counter(reason for _, reason in client.index.problems()) if isinstance(client, FolderClient) else Counter()
        )

    def _finished(self, series: Series) -> dict[str, Any] | None:
        """Return the record of a series if all its results exist and were made by this model from the same slices."""
        record = self._record(series)
        if record is None or record["made_by"] != self._made_by or record["instances"] != series.instance_count:
            return None
        there = {kind for kind in record["made"] if kind in _TABLES or self._is_written(series, kind)}
        return record if there | record["not_made"].keys() >= set(self._formats) else None

    def _is_written(self, series: Series, kind: str) -> bool:
        return kind in _SUFFIXES and self._path(series, _SUFFIXES[ExportFormat(kind)]).exists()

    def _segment(self, series: Series) -> dict[str, Any]:
        former = self._record(series) or {"made": []}
        volume = Path(self._datastore.get_image_uri(series.uid))
        try:
            request = {"model": LungTumor.NAME, "image": series.uid, "attention": False, "result_extension": ".nii.gz"}
            result = self._app.infer(request)
            record = self._results(series, volume, Path(result["file"]), result["params"])
        finally:
            volume.unlink(missing_ok=True)  # the volumes of a whole PACS would fill the disk
        write_json(self._path(series, ".json"), record)
        for kind in {*former["made"]} & {*_SUFFIXES} - {*record["made"]}:
            self._path(series, _SUFFIXES[ExportFormat(kind)]).unlink(missing_ok=True)  # left by another model
        return record

    def _results(self, series: Series, volume: Path, mask: Path, params: dict[str, Any]) -> dict[str, Any]:
        """Write the requested results of a mask, and return the record."""
        prediction = Prediction(
            series.uid, mask, volume, params["model_version"], findings_from_json(params["findings"])
        )
        exports = PredictionExports(prediction, self._datastore, self._app.settings.info)
        made, not_made, lesions = [], {}, []
        try:
            for kind in self._formats:
                try:
                    self._write(kind, series, exports, mask)
                    made.append(kind.value)
                except UserError as error:  # permanent, such as a NIfTI file without DICOM to reference
                    not_made[kind.value] = str(error)
            if self._tables:
                lesions = [asdict(lesion) for lesion in exports.lesions()]
        finally:
            mask.unlink(missing_ok=True)
        return {
            "made_by": self._made_by,
            "instances": series.instance_count,
            "made": made,
            "not_made": not_made,
            "voxels": params["voxels"],
            "warnings": params["warnings"],
            "about": {
                "patient_id": series.value("PatientID"),
                "study_date": series.value("StudyDate"),
                "series_instance_uid": series.uid,
                "algorithm_type": "AUTOMATIC",
                "model_version": params["model_version"],
            },
            "lesions": lesions,
        }

    def _write(self, kind: ExportFormat, series: Series, exports: PredictionExports, mask: Path) -> None:
        """Write one file of a prediction; the tables are written for all series at the end."""
        if kind == ExportFormat.seg:
            self._save(series, kind, exports.dicom_seg())
        elif kind == ExportFormat.rtstruct:
            self._save(series, kind, exports.rtstruct())
        elif kind == ExportFormat.nifti:
            write_atomically(self._path(series, _SUFFIXES[kind]), lambda part: shutil.copyfile(mask, part))
        elif kind in (ExportFormat.sr, ExportFormat.lesion_seg):
            report, seg = exports.measurement_report()
            if seg is not None:
                self._save(series, ExportFormat.lesion_seg, seg)
            if kind == ExportFormat.sr:
                self._save(series, kind, report)

    def _save(self, series: Series, kind: ExportFormat, dataset: Dataset) -> None:
        path = self._path(series, _SUFFIXES[kind])
        write_atomically(path, lambda part: dataset.save_as(part, write_like_original=False))

    def _case(self, series: Series, record: dict[str, Any], lesions: list[MeasuredLesion]) -> CaseRow:
        made = {name: record["about"][name] for name in ("algorithm_type", "model_version")}
        return case_row(self._datastore, series, state=PREDICTED, **made, **size_of_lesions(lesions))

    def _record(self, series: Series) -> dict[str, Any] | None:
        try:
            return json.loads(self._path(series, ".json").read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def _path(self, series: Series, suffix: str) -> Path:
        if series.uid != Path(series.uid).name:
            raise UserError(f"{series.uid!r} is not a valid SeriesInstanceUID, so it cannot be used as a file name.")
        return self._output / f"{series.uid}{suffix}"


def _made_by(app: MyApp) -> dict[str, Any]:
    """Return everything that determines a mask besides the image.

    Raises:
        UserError: There are no weights.
    """
    info = app.settings.info
    serving, content = app.models.read_serving()
    inputs = {
        "app_version": info["version"],
        "model_version": serving.version,
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "infer": {name: value for name, value in info["config"]["infer"].items() if name not in _IRRELEVANT},
        "preprocessing": info["preprocessing"],
    }
    return json.loads(json.dumps(inputs))  # normalized for comparison with a stored record


def _print_all(title: str, lines: Iterable[str]) -> None:
    lines = list(lines)
    if lines:
        print("\n  ".join([f"{title}:", *lines]))
