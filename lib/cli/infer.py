"""``python main.py infer``: batch inference of the serving model on every usable series of a folder or PACS.

A run uses a copy of the weights, so that one version makes all masks even if another is published meanwhile.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from lib.app import MyApp
from lib.configs.lung_tumor import LungTumor
from lib.datastore.catalog import Series
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError, in_one_line
from lib.exports.label_exports import LabelExports
from lib.exports.lesion_table import MeasuredLesion, as_csv, as_json, lesion_table
from lib.inference.findings import Finding, findings_from_json
from lib.publishing import ModelStore
from lib.publishing.model_store import PRETRAINED, PRETRAINED_FILE
from lib.publishing.stores import SEGMENTATION, model_stores
from lib.publishing.version_files import WEIGHTS_FILE
from lib.settings import APP_DIR, Settings, is_url
from lib.storage.atomic import write_atomically, write_json

_SEG, _NIFTI, _TABLE = "seg", "nifti", "table"
_IRRELEVANT = ("attention", "batch_size")  # settings that do not affect masks
_SUFFIXES = {_SEG: ".seg.dcm", _NIFTI: ".nii.gz"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--studies", required=True, help="DICOM folder or DICOMweb URL, as the server is given")
    parser.add_argument("--output", required=True, type=Path, help="folder for the results; not the DICOM folder")
    parser.add_argument(
        "--format",
        nargs="+",
        choices=(_SEG, _NIFTI, _TABLE),
        default=[_SEG, _TABLE],
        help="DICOM SEG, NIfTI: a file for each series; a table of all lesions, CSV and JSON (default: seg table)",
    )
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
    if not is_url(args.studies):
        if not Path(args.studies).is_dir():
            raise UserError(f"{args.studies} is neither a folder nor a URL.")
        if args.output.resolve().is_relative_to(Path(args.studies).resolve()):
            raise UserError(f"{args.output} is inside the DICOM folder, which is never written to. Choose another.")
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
        self._exports = LabelExports(self._datastore, app.settings.info)
        self._output: Path = args.output
        self._formats: list[str] = sorted(set(args.format))
        self._made_by = _made_by(app)

    def run(self) -> int:
        problems = self._list()
        everything = sorted(self._datastore.catalog.all(), key=lambda series: (series.value("PatientID"), series.uid))
        usable = [series for series in everything if series.problem is None]
        tables, failures = [], []
        for number, series in enumerate(usable, 1):
            about = f"{number} of {len(usable)}  {series.value('PatientID') or '(no id)'}  {series.uid}"
            try:
                record = self._finished(series)
                said = "finished before" if record else None
                record = record or self._segment(series)
            except Exception as error:  # a failure of one series or the PACS must not stop the others
                reason = str(error) if isinstance(error, UserError) else in_one_line(error)
                failures.append(f"{series.uid}: {reason}")
                print(f"{about}: failed, {reason}", flush=True)
                continue
            print(f"{about}: {said or 'done'}, {record['voxels']} voxels marked", flush=True)
            for warning in record["warnings"]:
                print(f"    {warning}")
            failures += [f"{series.uid}: no {kind}: {reason}" for kind, reason in record["not_made"].items()]
            if _TABLE in self._formats:
                tables.append((record["about"], [MeasuredLesion(**lesion) for lesion in record["lesions"]]))
        if tables:
            for name, text in (("lesions.csv", as_csv(tables)), ("lesions.json", as_json(tables))):
                write_atomically(self._output / name, partial(Path.write_text, data=text, encoding="utf-8"))
        left_out = [f"{series.uid}: {series.problem}" for series in everything if series.problem]
        _print_all(f"{len(left_out)} series left out", left_out)
        _print_all(
            "Other files left out (`python main.py doctor` names them)",
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
        there = {kind for kind in record["made"] if kind == _TABLE or self._path(series, _SUFFIXES[kind]).exists()}
        return record if there | record["not_made"].keys() >= set(self._formats) else None

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
        for kind in set(former["made"]) & _SUFFIXES.keys() - set(record["made"]):
            self._path(series, _SUFFIXES[kind]).unlink(missing_ok=True)  # left by another model
        return record

    def _results(self, series: Series, volume: Path, mask: Path, params: dict[str, Any]) -> dict[str, Any]:
        """Write the requested results of a mask, and return the record."""
        lesions: list[dict[str, Any]] = []
        findings = findings_from_json(params["findings"])
        makers: dict[str, Callable[[], object]] = {
            _SEG: lambda: self._write_seg(series, mask, params["model_version"], findings),
            _NIFTI: lambda: write_atomically(self._path(series, ".nii.gz"), lambda part: shutil.copyfile(mask, part)),
            _TABLE: lambda: lesions.extend(self._lesions(mask, volume, findings)),
        }
        made, not_made = [], {}
        try:
            for kind in self._formats:
                try:
                    makers[kind]()
                    made.append(kind)
                except UserError as error:  # permanent, such as a NIfTI file without DICOM to reference
                    not_made[kind] = str(error)
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

    def _write_seg(self, series: Series, mask: Path, version: str, findings: list[Finding]) -> None:
        seg = self._exports.dicom_seg_of_prediction(series.uid, mask, version, findings)
        write_atomically(self._path(series, ".seg.dcm"), lambda part: seg.save_as(part, write_like_original=False))

    def _lesions(self, mask: Path, volume: Path, findings: list[Finding]) -> list[dict[str, Any]]:
        voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(mask), sitk.sitkUInt8))
        labels = self._app.settings.info["labels"]
        return [asdict(lesion) for lesion in lesion_table(voxels, sitk.ReadImage(str(volume)), labels, findings)]

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
