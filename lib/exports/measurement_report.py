"""Lesion table as a DICOM Structured Report (PS3.16 TID 1500 Measurement Report), written by highdicom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import highdicom as hd
from highdicom import sr
from pydicom.sr import codedict
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid
from pydicom.valuerep import DA, TM

from lib.errors import UserError, in_one_line
from lib.exports.confidence import as_percent
from lib.exports.dicom_seg import algorithm_name, person_name
from lib.exports.lesion_table import MeasuredLesion
from lib.exports.lesion_terms import STATE, STATES, TEXTURE, TEXTURES, printable, tracking
from lib.exports.provenance import RESEARCH_USE, Provenance
from lib.exports.reader_remarks import PlacedMeasurement
from lib.exports.ruler_groups import ruler_groups
from lib.exports.source_images import SourceImages

_FIRST_SERIES_NUMBER = 10500
_CERTAINTY = (
    "Certainty of Finding is the confidence of the model that what it marked is a lesion; it says nothing about "
    "malignancy. "
)
codes: Any = codedict.codes  # resolves names at run time: pydicom's annotations do not cover all its results
_SIDES = {"left": codes.SCT.Left, "right": codes.SCT.Right}  # PS3.16 CID 244, which has no code for the midline


def measurement_report(
    lesions: Sequence[MeasuredLesion],
    segmentation: hd.seg.Segmentation | None,
    sources: SourceImages,
    provenance: Provenance,
    info: Mapping[str, Any],
    measurements: Sequence[PlacedMeasurement] = (),
) -> sr.Comprehensive3DSR:
    """Make the report of lesions, with one volumetric measurement group (TID 1411) each, and of what a reader measured.

    Each group references the segment of its lesion. Measurements apply to a whole segment, so a Segmentation with
    several lesions in one segment could not be referenced.

    Args:
        lesions: Rows of the table. An empty report states that no lesion is marked.
        segmentation: One segment per lesion (:func:`lib.exports.dicom_seg.lesion_segmentation`); None without lesions.
        sources: The images of the series.
        provenance: Origin of the mask. The output is deterministic: equal provenance gives identical instances.
        info: ``info.yaml``: the codes of the labels under ``segments``, name and version of this app.
        measurements: Of the reader; each has a group (TID 1501) of its own, with the tracking UID of its lesion.

    Raises:
        UserError: The series lacks a required attribute.
    """
    content = sr.MeasurementReport(
        observation_context=_observers(provenance, info),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=[
            *(
                _group(number, lesion, cast(hd.seg.Segmentation, segmentation), sources, provenance, info)
                for number, lesion in enumerate(lesions, 1)
            ),
            *ruler_groups(measurements, lesions, sources, provenance),
        ],
        title=codes.DCM.ImagingMeasurementReport,
    )
    if not lesions and not measurements:
        (container,) = (item for item in content[0].ContentSequence if item.name == codes.DCM.ImagingMeasurements)
        del container.ContentSequence  # an empty one is not allowed (PS3.3 C.17.3.2.4)
    content[0].ContentSequence.append(_comment(lesions))
    try:
        report = sr.Comprehensive3DSR(
            evidence=[*([segmentation] if segmentation is not None else []), *sources.headers],
            content=content[0],
            series_instance_uid=provenance.uid("sr series"),
            series_number=_FIRST_SERIES_NUMBER + provenance.number,
            sop_instance_uid=provenance.uid("sr"),
            instance_number=1,
            manufacturer=info["name"],
            manufacturer_model_name=info["name"],
            software_versions=info["version"],
            device_serial_number=info["version"],
            series_description=f"{info['name']} {provenance.number}, lesions ({RESEARCH_USE})",
            is_complete=True,
        )
    except Exception as error:  # highdicom raises many kinds on headers that break the standard
        raise UserError(f"The series cannot be exported as DICOM SR: {in_one_line(error)}.") from error
    # highdicom uses the current time; the output must be deterministic.
    report.SpecificCharacterSet = "ISO_IR 192"
    report.ContentDate = report.SeriesDate = report.InstanceCreationDate = DA(provenance.when.strftime("%Y%m%d"))
    report.ContentTime = report.SeriesTime = report.InstanceCreationTime = TM(provenance.when.strftime("%H%M%S.%f"))
    return report


def _observers(provenance: Provenance, info: Mapping[str, Any]) -> sr.ObservationContext:
    """Return the observers (TID 1002): this app, which measured, and the author of the mask if known."""
    device = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=["lunglabel", "device", info["name"], str(info["version"])]),
            name=info["name"],
            manufacturer_name=info["name"],
            model_name=info["name"],
            serial_number=str(info["version"]),
        ),
    )
    name = person_name(provenance.author)
    person = name and sr.ObserverContext(
        observer_type=codes.DCM.Person, observer_identifying_attributes=sr.PersonObserverIdentifyingAttributes(name)
    )
    return sr.ObservationContext(observer_person_context=person or None, observer_device_context=device)


def _group(
    number: int,
    lesion: MeasuredLesion,
    segmentation: hd.seg.Segmentation,
    sources: SourceImages,
    provenance: Provenance,
    info: Mapping[str, Any],
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """Return the measurement group of a lesion."""
    term = info["segments"][lesion.label]
    identifier, uid = tracking(lesion, provenance)
    algorithm = None
    if provenance.algorithm_type != "MANUAL":
        algorithm = sr.AlgorithmIdentification(
            name=algorithm_name(info),
            version=cast(str, provenance.model_version),  # known wherever a model was involved
            parameters=[f"segmentation {provenance.algorithm_type}, {RESEARCH_USE}"],
        )
    group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=uid, identifier=identifier),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=number,
            source_series=sr.SourceSeriesForSegmentation(sources.headers[0].SeriesInstanceUID),
        ),
        finding_category=Code(*term["category"]),
        finding_type=Code(*term["type"]),
        finding_sites=[sr.FindingSite(Code(*term["region"]), laterality=_SIDES.get(lesion.side))],
        algorithm_id=algorithm,
        measurements=_measurements(lesion),
        qualitative_evaluations=_evaluations(lesion),
    )
    if lesion.note:  # TID 1501 has text among the qualitative evaluations, for which highdicom has no argument
        contains = sr.RelationshipTypeValues.CONTAINS
        group[0].ContentSequence.append(sr.TextContentItem(codes.DCM.Comment, printable(lesion.note), contains))
    return group


def _evaluations(lesion: MeasuredLesion) -> list[sr.QualitativeEvaluation]:
    """Return what the reader said about a lesion, as codes."""
    said = ((STATE, STATES.get(lesion.state)), (TEXTURE, TEXTURES.get(lesion.texture)))
    return [sr.QualitativeEvaluation(name, value) for name, value in said if value is not None]


def _measurements(lesion: MeasuredLesion) -> list[sr.Measurement]:
    """Return the measurements of a lesion, with the names and units of PS3.16 CID 7469, 7470 and 7472.

    The confidence is (111012, DCM, "Certainty of Finding") in percent: "the likelihood that the finding detected is in
    fact the type of finding identified" (PS3.16 Annex D), not (111047, DCM, "Probability of cancer"). The context
    groups of measurements have no such concept; as baselines they allow others.
    """
    measurements = [
        sr.Measurement(codes.SCT.Volume, lesion.volume_mm3, codes.UCUM.CubicMillimeter),
        sr.Measurement(codes.SCT.LongAxis, lesion.longest_diameter_mm, codes.UCUM.Millimeter),
        sr.Measurement(codes.SCT.PerpendicularAxis, lesion.perpendicular_diameter_mm, codes.UCUM.Millimeter),
        sr.Measurement(
            codes.DCM.AttenuationCoefficient, lesion.mean_hu, codes.UCUM.HounsfieldUnit, derivation=codes.SCT.Mean
        ),
    ]
    if lesion.confidence is not None:
        certainty = as_percent(lesion.confidence)
        measurements.append(sr.Measurement(codes.DCM.CertaintyOfFinding, certainty, codes.UCUM.Percent))
    return measurements


def _comment(lesions: Sequence[MeasuredLesion]) -> sr.TextContentItem:
    """Return a comment on the whole report; TID 1500 is extensible, and its own rows have no free text."""
    found = f"{len(lesions)} lesion(s)" if lesions else "No lesion is marked"
    judged = any(lesion.confidence is not None for lesion in lesions)
    return sr.TextContentItem(
        name=codes.DCM.Comment,
        value=f"{found}. {_CERTAINTY * judged}{RESEARCH_USE.capitalize()}, not for diagnosis.",
        relationship_type=sr.RelationshipTypeValues.CONTAINS,
    )
