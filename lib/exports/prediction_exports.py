"""Exports of a mask that the model has just predicted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import SimpleITK as sitk
from pydicom.dataset import FileDataset

from lib.datastore.series_datastore import SeriesDatastore
from lib.exports.dicom_seg import lesion_segmentation, segmentation
from lib.exports.lesion_table import MeasuredLesion, measured_lesions
from lib.exports.measurement_report import measurement_report
from lib.exports.provenance import Provenance
from lib.exports.rtstruct import structure_set
from lib.exports.series_sources import series_sources
from lib.exports.source_images import SourceImages
from lib.inference.findings import Finding


@dataclass(frozen=True)
class Prediction:
    """A predicted mask.

    Attributes:
        image_id: SeriesInstanceUID.
        mask: File of the mask, on the grid of ``volume``.
        volume: File of the image in HU.
        model_version: Version of the model.
        findings: Findings of the mask.
    """

    image_id: str
    mask: Path
    volume: Path
    model_version: str
    findings: Sequence[Finding] = ()


class PredictionExports:
    """Makes the exports of one prediction, all with the same provenance.

    Args:
        prediction: The prediction.
        datastore: Datastore of the series.
        info: ``info.yaml``.
    """

    def __init__(self, prediction: Prediction, datastore: SeriesDatastore, info: Mapping[str, Any]) -> None:
        self._prediction = prediction
        self._datastore = datastore
        self._info = info
        self._voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(prediction.mask), sitk.sitkUInt8))
        content = hashlib.sha256(self._voxels.tobytes()).hexdigest()
        self._provenance = Provenance.of_prediction(prediction.image_id, content, prediction.model_version)

    def dicom_seg(self) -> hd.seg.Segmentation:
        """Return the DICOM Segmentation.

        Raises:
            UserError: The image is not a DICOM series.
        """
        return segmentation(self._voxels, self._sources, self._provenance, self._info, self._prediction.findings)

    def rtstruct(self) -> FileDataset:
        """Return the RT Structure Set.

        Raises:
            UserError: The image is not a DICOM series.
        """
        return structure_set(self._voxels, self._sources, self._provenance, self._info)

    def measurement_report(self) -> tuple[hd.sr.Comprehensive3DSR, hd.seg.Segmentation | None]:
        """Return the DICOM SR and the DICOM SEG that it refers to; the SEG is None without lesions.

        Raises:
            UserError: The image is not a DICOM series.
        """
        lesions, places = self._measured
        sources, provenance = self._sources, self._provenance
        seg = lesion_segmentation(places, lesions, sources, provenance, self._info) if lesions else None
        return measurement_report(lesions, seg, sources, provenance, self._info), seg

    def lesions(self) -> list[MeasuredLesion]:
        """Return the rows of the table of lesions."""
        return self._measured[0]

    @cached_property
    def _sources(self) -> SourceImages:
        return series_sources(self._datastore, self._prediction.image_id)

    @cached_property
    def _measured(self) -> tuple[list[MeasuredLesion], np.ndarray]:
        volume = sitk.ReadImage(str(self._prediction.volume))
        return measured_lesions(self._voxels, volume, self._info["labels"], self._prediction.findings)
