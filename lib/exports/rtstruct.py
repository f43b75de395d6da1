"""Writer of RT Structure Sets (PS3.3 A.19).

rt-utils 1.2.7 is not used: it needs OpenCV, draws the outline through the centres of the outermost pixels (structures
shrink by half a pixel on every side, and single pixels vanish), needs a folder of files that pydicom can decode, and
generates new UIDs on each call. highdicom does not write RT Structure Sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from lib.exports.contours import outlines
from lib.exports.provenance import RESEARCH_USE, Provenance
from lib.exports.source_images import SourceImages

_DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"  # retired SOP class, still expected by readers
_FIRST_SERIES_NUMBER = 9500
_COLOURS = ([255, 0, 0], [0, 255, 0], [0, 128, 255], [255, 255, 0])
_COPIED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "FrameOfReferenceUID",
)


def structure_set(
    mask: np.ndarray, sources: SourceImages, provenance: Provenance, info: Mapping[str, Any]
) -> FileDataset:
    """Make the structure set of a mask: one region of interest per label, with contours on the slices of the series.

    Args:
        mask: (slice, row, column) on the slices of the series, with the values of ``info["labels"]``.
        sources: The images of the series.
        provenance: Origin of the mask. The output is deterministic: equal provenance gives identical instances.
        info: ``info.yaml``: labels, name and version of this app.

    Raises:
        UserError: The mask does not fit the series.
    """
    sources.check(mask)
    rtstruct = _header(sources, provenance, info)
    rtstruct.ReferencedFrameOfReferenceSequence = [_frame_of_reference(sources)]
    rtstruct.StructureSetROISequence = []
    rtstruct.ROIContourSequence = []
    rtstruct.RTROIObservationsSequence = []
    for number, (name, value) in enumerate(info["labels"].items(), 1):
        roi = Dataset()
        roi.ROINumber = number
        roi.ReferencedFrameOfReferenceUID = rtstruct.FrameOfReferenceUID
        roi.ROIName = name
        roi.ROIGenerationAlgorithm = provenance.algorithm_type
        rtstruct.StructureSetROISequence.append(roi)
        contour = Dataset()
        contour.ROIDisplayColor = _COLOURS[(number - 1) % len(_COLOURS)]
        contour.ReferencedROINumber = number
        if found := _contours(mask == value, sources):
            contour.ContourSequence = found
        rtstruct.ROIContourSequence.append(contour)
        observation = Dataset()
        observation.ObservationNumber = observation.ReferencedROINumber = number
        observation.RTROIInterpretedType = ""
        observation.ROIInterpreter = ""
        rtstruct.RTROIObservationsSequence.append(observation)
    return rtstruct


def _header(sources: SourceImages, provenance: Provenance, info: Mapping[str, Any]) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = provenance.uid("rtstruct")
    # In explicit VR a contour (VR DS) is limited to 64 KiB; in implicit VR it is not.
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    rtstruct = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    rtstruct.is_little_endian = rtstruct.is_implicit_VR = True
    for keyword in _COPIED:
        rtstruct[keyword] = sources.headers[0][keyword]
    rtstruct.SpecificCharacterSet = "ISO_IR 192"
    rtstruct.SOPClassUID = RTStructureSetStorage
    rtstruct.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    rtstruct.SeriesInstanceUID = provenance.uid("rtstruct series")
    rtstruct.SeriesNumber = _FIRST_SERIES_NUMBER + provenance.number
    rtstruct.InstanceNumber = 1
    rtstruct.Modality = "RTSTRUCT"
    rtstruct.SeriesDescription = f"{info['name']} {provenance.number} ({RESEARCH_USE})"
    rtstruct.Manufacturer = rtstruct.ManufacturerModelName = info["name"]
    rtstruct.SoftwareVersions = info["version"]
    rtstruct.OperatorsName = ""
    rtstruct.PositionReferenceIndicator = ""
    rtstruct.StructureSetLabel = "LUNGLABEL"
    rtstruct.StructureSetDescription = f"{RESEARCH_USE}, not for diagnosis"
    rtstruct.StructureSetDate = rtstruct.SeriesDate = provenance.when.strftime("%Y%m%d")
    rtstruct.StructureSetTime = rtstruct.SeriesTime = provenance.when.strftime("%H%M%S")
    rtstruct.ApprovalStatus = "UNAPPROVED"
    return rtstruct


def _frame_of_reference(sources: SourceImages) -> Dataset:
    header = sources.headers[0]
    series = Dataset()
    series.SeriesInstanceUID = header.SeriesInstanceUID
    series.ContourImageSequence = [_reference(one) for one in sources.headers]
    study = Dataset()
    study.ReferencedSOPClassUID = _DETACHED_STUDY
    study.ReferencedSOPInstanceUID = header.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame_of_reference = Dataset()
    frame_of_reference.FrameOfReferenceUID = header.FrameOfReferenceUID
    frame_of_reference.RTReferencedStudySequence = [study]
    return frame_of_reference


def _contours(mask: np.ndarray, sources: SourceImages) -> list[Dataset]:
    stack = sources.stack
    found = []
    for place in np.flatnonzero(mask.any(axis=(1, 2))):
        image = _reference(sources.headers[place if sources.frame_numbers is None else 0])
        if sources.frame_numbers is not None:
            image.ReferencedFrameNumber = sources.frame_numbers[place]
        for polygon in outlines(mask[place]):
            columns, rows = (polygon * stack.pixel_spacing).T
            corners = stack.positions[place] + columns[:, None] * stack.row + rows[:, None] * stack.column
            contour = Dataset()
            contour.ContourImageSequence = [image]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(corners)
            contour.ContourData = [f"{value + 0.0:.4f}" for value in corners.round(4).ravel()]
            found.append(contour)
    return found


def _reference(header: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = header.SOPClassUID
    reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return reference
