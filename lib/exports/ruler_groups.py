"""Measurements of a reader as measurement groups of a DICOM SR (PS3.16 TID 1501)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from highdicom import sr
from pydicom import Sequence as DicomSequence
from pydicom.sr import codedict

from lib.exports.lesion_table import MeasuredLesion
from lib.exports.lesion_terms import tracking
from lib.exports.provenance import Provenance
from lib.exports.reader_remarks import PlacedMeasurement
from lib.exports.source_images import SourceImages

codes: Any = codedict.codes  # resolves names at run time: pydicom's annotations do not cover all its results
_NAMES = {"length": [codes.SCT.Length], "bidirectional": [codes.SCT.LongAxis, codes.SCT.ShortAxis]}  # CID 7470
_DIGITS = 2  # of mm


def ruler_groups(
    measurements: Sequence[PlacedMeasurement],
    lesions: Sequence[MeasuredLesion],
    sources: SourceImages,
    provenance: Provenance,
) -> list[sr.MeasurementsAndQualitativeEvaluations]:
    """Return a group for each measurement, with the tracking identifier and UID of the lesion that it is in.

    A line that is on one slice has its pixels there (SCOORD), another its place in the frame of reference (SCOORD3D).
    The latter is also for a line beyond the first or last slice, which the viewer draws in the other planes.
    """
    groups = []
    for number, one in enumerate(measurements, 1):
        identifier, uid = f"measurement {number}", str(provenance.uid(f"measurement {number}"))
        if one.place:
            identifier, uid = tracking(lesions[one.place - 1], provenance)
        groups.append(
            sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=sr.TrackingIdentifier(uid=uid, identifier=identifier),
                measurements=_measurements(one, sources),
            )
        )
    return groups


def _measurements(one: PlacedMeasurement, sources: SourceImages) -> list[sr.Measurement]:
    found = []
    for place, name in enumerate(_NAMES[one.measurement.kind]):
        length = round(one.measurement.lengths[place], _DIGITS)
        measured = sr.Measurement(name, length, codes.UCUM.Millimeter)
        measured[0].ContentSequence = DicomSequence([_coordinates(one, place, sources)])
        found.append(measured)
    return found


def _coordinates(one: PlacedMeasurement, place: int, sources: SourceImages) -> sr.ContentItem:
    """Return where a line was drawn (PS3.16 TID 320)."""
    slice_index = one.slice_index
    if slice_index is None or not 0 <= slice_index < len(sources.stack.order):
        return sr.Scoord3DContentItem(
            name=codes.DCM.SourceOfMeasurement,
            graphic_type=sr.GraphicTypeValues3D.POLYLINE,
            graphic_data=one.measurement.lines[place],
            frame_of_reference_uid=sources.headers[0].FrameOfReferenceUID,
            relationship_type=sr.RelationshipTypeValues.INFERRED_FROM,
        )
    header, frame = sources.image_of_slice(slice_index)
    line = sr.ScoordContentItem(
        name=codes.DCM.SourceOfMeasurement,
        graphic_type=sr.GraphicTypeValues.POLYLINE,
        graphic_data=_within(one.index[place, :, :2] + 0.5, header),  # the centre of the first pixel is at 0.5
        relationship_type=sr.RelationshipTypeValues.INFERRED_FROM,
    )
    image = sr.ImageContentItem(
        name=codes.DCM.SourceImage,
        referenced_sop_class_uid=header.SOPClassUID,
        referenced_sop_instance_uid=header.SOPInstanceUID,
        referenced_frame_numbers=frame,
        relationship_type=sr.RelationshipTypeValues.SELECTED_FROM,
    )
    line.ContentSequence = DicomSequence([image])
    return line


def _within(pixels: np.ndarray, header: Any) -> np.ndarray:
    return np.clip(pixels, 0, [header.Columns, header.Rows])
