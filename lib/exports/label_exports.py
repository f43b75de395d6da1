"""Exports of a stored label or a prediction."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import SimpleITK as sitk
from pydicom.dataset import FileDataset

from lib.datastore.label_info import model_version_of
from lib.datastore.label_lesions import remarks_of
from lib.datastore.label_measurements import measurements_of
from lib.datastore.label_record import LabelRecord, read_voxels
from lib.datastore.lesion_numbers import lesions_of_record
from lib.datastore.series_datastore import SeriesDatastore
from lib.errors import UserError
from lib.exports.dicom_seg import lesion_segmentation, segmentation
from lib.exports.lesion_growth import placed_lesion, with_growth
from lib.exports.lesion_table import MeasuredLesion, OtherRow, Row, measured_lesions
from lib.exports.measurement_report import measurement_report
from lib.exports.prediction_exports import Prediction, PredictionExports
from lib.exports.provenance import Provenance, algorithm_type
from lib.exports.reader_remarks import PlacedMeasurement, other_rows, placed_measurements, with_remarks
from lib.exports.rtstruct import structure_set
from lib.exports.series_sources import series_sources
from lib.exports.source_images import SourceImages
from lib.followup.former_lesions import former_lesions
from lib.followup.lesion_matching import PlacedLesion
from lib.followup.other_studies import former_labelled
from lib.followup.registration_store import RegistrationStore
from lib.geometry.voxel_grid import VoxelGrid
from lib.inference.findings import Finding, findings_from_json

logger = logging.getLogger(__name__)

_FINAL = "final"
_MOST_KEPT = 32


@dataclass(frozen=True)
class _Measured:
    """What was measured in a label.

    Attributes:
        lesions: Of the mask, by number.
        places: (slice, row, column): position of the lesion in ``lesions``, counted from 1; 0 is background.
        measurements: That the reader drew.
        others: Rows of what has no voxels.
    """

    lesions: list[MeasuredLesion]
    places: np.ndarray
    measurements: list[PlacedMeasurement]
    others: list[OtherRow]


class LabelExports:
    """Factory of the DICOM objects and lesion tables of labels.

    Args:
        datastore: Images and labels.
        info: ``info.yaml``.
        registrations: To compare lesions with those of earlier studies; without it the columns on growth are empty.
    """

    def __init__(
        self, datastore: SeriesDatastore, info: Mapping[str, Any], registrations: RegistrationStore | None = None
    ) -> None:
        self._datastore = datastore
        self._info = info
        self._registrations = registrations
        self._placed: OrderedDict[tuple[str, int, str | None], list[PlacedLesion]] = OrderedDict()

    def dicom_seg(self, record: LabelRecord) -> hd.seg.Segmentation:
        """Return the DICOM Segmentation of a label; the same instance on every call.

        Raises:
            UserError: The image is gone, has changed, or is not a DICOM series.
        """
        return self._seg(record.image_id, self._mask(record), Provenance.of_label(record), _findings(record))

    def rtstruct(self, record: LabelRecord) -> FileDataset:
        """Return the RT Structure Set of a label; the same instance on every call.

        Raises:
            UserError: The image is gone, has changed, or is not a DICOM series.
        """
        sources = self._sources(record.image_id)
        return structure_set(self._mask(record), sources, Provenance.of_label(record), self._info)

    def lesions(self, record: LabelRecord) -> tuple[dict[str, Any], list[Row]]:
        """Return the columns of a lesion table that identify the label, and its rows: lesions, then what has no voxels.

        Raises:
            UserError: The image no longer exists or has changed.
        """
        series = self._datastore.series(record.image_id)
        about = {
            "patient_id": series.value("PatientID"),
            "study_date": series.value("StudyDate"),
            "series_instance_uid": record.image_id,
            "label_number": record.number,
            "algorithm_type": algorithm_type(record.info),
            "model_version": model_version_of(record.info),
        }
        measured = self._measured(record)
        return about, [*self._with_growth(record, measured.lesions), *measured.others]

    def placed_lesions(self, record: LabelRecord) -> list[PlacedLesion]:
        """Return number, centre, volume and tracking UID of the lesions of a label; those of the last few are kept.

        Raises:
            UserError: The image no longer exists or has changed, or the label is damaged.
        """
        key = (record.image_id, record.number, record.sha256)
        found = self._placed.pop(key, None)
        if found is None:
            found = [placed_lesion(one) for one in self._measured(record).lesions]
        self._placed[key] = found
        while len(self._placed) > _MOST_KEPT:
            self._placed.popitem(last=False)
        return found

    def measurement_report(self, record: LabelRecord) -> tuple[hd.sr.Comprehensive3DSR, hd.seg.Segmentation | None]:
        """Return the lesion table as a DICOM SR, and the DICOM SEG that it references, with one segment per lesion.

        The SEG is None if the label has no lesion; both are the same instances on every call.

        Raises:
            UserError: The image is gone, has changed, or is not a DICOM series.
        """
        sources, provenance = self._sources(record.image_id), Provenance.of_label(record)
        measured = self._measured(record)
        lesions = measured.lesions
        seg = lesion_segmentation(measured.places, lesions, sources, provenance, self._info) if lesions else None
        return measurement_report(lesions, seg, sources, provenance, self._info, measured.measurements), seg

    def dicom_seg_of_prediction(
        self, image_id: str, mask: Path, model_version: str, findings: Sequence[Finding]
    ) -> hd.seg.Segmentation:
        """Return the DICOM Segmentation of a mask that the model has just predicted for an image.

        Args:
            image_id: SeriesInstanceUID.
            mask: File of the mask.
            model_version: Version of the model.
            findings: Findings of the mask.

        Raises:
            UserError: The image is not a DICOM series.
        """
        volume = Path(self._datastore.get_image_uri(image_id))
        prediction = Prediction(image_id, mask, volume, model_version, findings)
        return PredictionExports(prediction, self._datastore, self._info).dicom_seg()

    def _with_growth(self, record: LabelRecord, lesions: list[MeasuredLesion]) -> list[MeasuredLesion]:
        """Return the lesions with their growth since the latest earlier study that has a label, if there is one."""
        other = former_labelled(self._datastore, record.image_id) if self._registrations and lesions else None
        if self._registrations is None or other is None or other.date is None or other.days is None:
            return lesions
        try:
            former = self.placed_lesions(self._datastore.labels.latest(other.series, _FINAL))
            registration = self._registrations.get(record.image_id, other.series)
        except (UserError, OSError, RuntimeError) as error:  # the table is also useful without growth
            logger.warning("Lesions of %s are not compared with %s: %s", record.image_id, other.series, error)
            return lesions
        if registration.problem:
            logger.warning("%s is not compared with %s: %s", record.image_id, other.series, registration.problem)
            return lesions
        current = [placed_lesion(one) for one in lesions]
        return with_growth(lesions, former_lesions(current, former, registration, other.date, other.days))

    def _seg(
        self, image_id: str, mask: np.ndarray, provenance: Provenance, findings: Sequence[Finding]
    ) -> hd.seg.Segmentation:
        return segmentation(mask, self._sources(image_id), provenance, self._info, findings)

    def _sources(self, image_id: str) -> SourceImages:
        return series_sources(self._datastore, image_id)

    def _measured(self, record: LabelRecord) -> _Measured:
        volume = sitk.ReadImage(self._datastore.get_image_uri(record.image_id))
        mask = self._mask(record)
        if mask.shape != volume.GetSize()[::-1]:
            raise UserError(f"Image {record.image_id} has changed since it was labelled.", HTTPStatus.CONFLICT)
        labels, grid = self._info["labels"], VoxelGrid.from_image(volume)
        numbered = lesions_of_record(record, mask, labels)
        lesions, places = measured_lesions(mask, volume, labels, _findings(record), numbered)
        remarks, drawn = remarks_of(record.info), measurements_of(record.info.get("measurements"))
        measurements = placed_measurements(drawn, places, grid)
        lesions = with_remarks(lesions, places, remarks, measurements)
        return _Measured(lesions, places, measurements, other_rows(remarks, measurements, grid))

    def _mask(self, record: LabelRecord) -> np.ndarray:
        """Return the voxels (slice, row, column) of a label.

        Raises:
            DamagedFileError: The stored file does not match its checksum.
        """
        return read_voxels(self._datastore.labels.content(record))


def _findings(record: LabelRecord) -> list[Finding]:
    """Return the findings of the model that the label still has."""
    return findings_from_json(record.info.get("findings"))
