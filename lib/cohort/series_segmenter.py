"""Segmentation of one series at a time, with its results as files; a series done twice is done once."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydicom import Dataset

from lib.app import MyApp
from lib.cohort.job import Outcome
from lib.configs.lung_tumor import LungTumor
from lib.datastore.catalog import Series
from lib.errors import UserError, in_one_line
from lib.exports.formats import SUFFIXES, TABLES, ExportFormat
from lib.exports.prediction_exports import Prediction, PredictionExports
from lib.inference.findings import findings_from_json
from lib.settings import InferenceOptions
from lib.storage.atomic import write_atomically, write_json

_RECORD = ".json"
_ENTRIES = {"made_by", "instances", "made", "not_made", "voxels", "warnings", "about", "lesions"}


class SeriesSegmenter:
    """Segments series. Each is finished once its record ``<SeriesInstanceUID>.json`` is written, after its results.

    Args:
        app: The app, with the model and the datastore.
        output: Folder of the results.
        formats: Formats of the results.
    """

    def __init__(self, app: MyApp, output: Path, formats: Iterable[ExportFormat]) -> None:
        self._app = app
        self._datastore = app.datastore()
        self._output = output
        self._formats = sorted(formats)
        self._with_tables = bool(TABLES & {*self._formats})
        self._made_by = _made_by(app)

    def list_only(self, series: Series) -> None:
        """Tell the datastore of a series that another process has listed."""
        self._datastore.catalog.put(series)

    def attempt(self, series: Series) -> Outcome:
        """Segment a series unless that is done already; a failure must not stop the others."""
        try:
            record = self.finished(series)
            return Outcome(series.uid, record or self.segment(series), finished_before=record is not None)
        except Exception as error:  # of the series, its files or the PACS
            return Outcome(series.uid, reason=str(error) if isinstance(error, UserError) else in_one_line(error))

    def finished(self, series: Series) -> dict[str, Any] | None:
        """Return the record of a series if all its results exist and were made by this model from the same slices."""
        record = self._record(series)
        if record is None or record["made_by"] != self._made_by or record["instances"] != series.instance_count:
            return None
        there = {kind for kind in record["made"] if kind in TABLES or self._is_written(series, kind)}
        return record if there | record["not_made"].keys() >= set(self._formats) else None

    def _is_written(self, series: Series, kind: str) -> bool:
        return kind in SUFFIXES and self._path(series, SUFFIXES[ExportFormat(kind)]).exists()

    def segment(self, series: Series) -> dict[str, Any]:
        """Segment a series, write its results, then its record, and return that.

        Raises:
            Exception: Anything that reading a series or a PACS can raise.
        """
        former = self._record(series) or {"made": []}
        volume = Path(self._datastore.get_image_uri(series.uid))
        try:
            request = {"model": LungTumor.NAME, "image": series.uid, "attention": False, "result_extension": ".nii.gz"}
            result = self._app.infer(request)
            record = self._results(series, volume, Path(result["file"]), result["params"])
        finally:
            volume.unlink(missing_ok=True)  # the volumes of a whole PACS would fill the disk
        write_json(self._path(series, _RECORD), record)
        for kind in {*former["made"]} & {*SUFFIXES} - {*record["made"]}:
            self._path(series, SUFFIXES[ExportFormat(kind)]).unlink(missing_ok=True)  # left by another model
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
            if self._with_tables:
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
            write_atomically(self._path(series, SUFFIXES[kind]), lambda part: shutil.copyfile(mask, part))
        elif kind in (ExportFormat.sr, ExportFormat.lesion_seg):
            report, seg = exports.measurement_report()
            if seg is not None:
                self._save(series, ExportFormat.lesion_seg, seg)
            if kind == ExportFormat.sr:
                self._save(series, kind, report)

    def _save(self, series: Series, kind: ExportFormat, dataset: Dataset) -> None:
        path = self._path(series, SUFFIXES[kind])
        write_atomically(path, lambda part: dataset.save_as(part, write_like_original=False))

    def _record(self, series: Series) -> dict[str, Any] | None:
        """Return the record of a series; None without one, or if the file is damaged or of another program."""
        try:
            record = json.loads(self._path(series, _RECORD).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return record if isinstance(record, dict) and record.keys() >= _ENTRIES else None

    def _path(self, series: Series, suffix: str) -> Path:
        if series.uid != Path(series.uid).name:
            raise UserError(f"{series.uid!r} is not a valid SeriesInstanceUID, so it cannot be used as a file name.")
        return self._output / f"{series.uid}{suffix}"


def read_record(output: Path, uid: str) -> dict[str, Any]:
    """Return the record of a finished series.

    Raises:
        UserError: It was removed or damaged meanwhile.
    """
    path = output / f"{uid}{_RECORD}"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read any more ({in_one_line(error)}). Start the same command again."
        ) from error


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
        "infer": {
            name: value
            for name, value in info["config"]["infer"].items()
            if name not in InferenceOptions.WITHOUT_EFFECT_ON_MASKS
        },
        "preprocessing": info["preprocessing"],
    }
    return json.loads(json.dumps(inputs))  # normalized for comparison with a stored record
