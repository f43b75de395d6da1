"""DICOM Segmentation objects (PS3.3 A.51), written by highdicom."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

import highdicom as hd
import numpy as np
from pydicom.sr.coding import Code
from pydicom.valuerep import DA, TM

from lib.errors import UserError, in_one_line
from lib.exports.confidence import describe_segment
from lib.exports.lesion_table import MeasuredLesion
from lib.exports.lesion_terms import describe_lesion, tracking
from lib.exports.provenance import RESEARCH_USE, Provenance
from lib.exports.source_images import SourceImages
from lib.inference.findings import Finding

# highdicom logs each module that it copies.
logging.getLogger("highdicom").setLevel(logging.WARNING)
# highdicom quotes unusual person names in warnings; patient names must not appear in the server's log.
warnings.filterwarnings("ignore", module=r"highdicom\b")

_ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
_FIRST_SERIES_NUMBER = 9000
_FIRST_LESION_SERIES_NUMBER = 10000  # RTSTRUCT starts at 9500
_MAX_SEGMENTS = 65_535
_MAX_NAME_LENGTH = 64  # characters of a component of a person's name (PS3.5 6.2)


def segmentation(
    mask: np.ndarray,
    sources: SourceImages,
    provenance: Provenance,
    info: Mapping[str, Any],
    findings: Sequence[Finding] = (),
) -> hd.seg.Segmentation:
    """Make the Segmentation of a mask: one binary segment per label, without empty frames.

    The confidence of the model in each lesion is in the Segment Description, which is free text (PS3.3 C.8.20.4): a
    Segmentation has no coded place for it. The values of a FRACTIONAL one are of voxels, and the parameters of the
    algorithm are its inputs.

    An empty mask keeps all its frames: the standard allows no object without frames, and "nothing found" is a result.

    Args:
        mask: (slice, row, column) on the slices of the series, with the values of ``info["labels"]``.
        sources: The images of the series.
        provenance: Origin of the mask. The output is deterministic: equal provenance gives identical instances.
        info: ``info.yaml``: labels, their codes under ``segments``, name and version of this app.
        findings: Of the model, for the confidence of the lesions that contain one.

    Raises:
        UserError: The mask does not fit the series, or the series lacks a required attribute.
    """
    names = sorted(info["labels"], key=info["labels"].get)
    segment_numbers = np.zeros(256, np.uint8)
    segment_numbers[[info["labels"][name] for name in names]] = np.arange(1, len(names) + 1)
    descriptions = [
        _description(number, name, name, provenance.uid(f"tracking {name}"), provenance, info)
        for number, name in enumerate(names, 1)
    ]
    segments = segment_numbers[mask]
    for number, description in enumerate(descriptions, 1):
        _describe(description, describe_segment(segments == number, findings))
    return _segmentation(segments, descriptions, sources, provenance, info)


def lesion_segmentation(
    places: np.ndarray,
    lesions: Sequence[MeasuredLesion],
    sources: SourceImages,
    provenance: Provenance,
    info: Mapping[str, Any],
) -> hd.seg.Segmentation:
    """Make a Segmentation with one binary segment per lesion, so that other objects can reference single lesions.

    Args:
        places: (slice, row, column): position of the lesion in ``lesions``, counted from 1; 0 is background.
        lesions: At least one; each segment has the tracking identifier and UID of its lesion, and in its description
            what the reader said about it and the confidence, as in :func:`segmentation`.
        sources: The images of the series.
        provenance: Origin of the mask. The output is deterministic: equal provenance gives identical instances.
        info: ``info.yaml``: the codes of the labels under ``segments``, name and version of this app.

    Raises:
        UserError: The mask does not fit the series, the series lacks a required attribute, or there are more lesions
            than a Segmentation can number (Segment Number is US, PS3.3 C.8.20.4).
    """
    if len(lesions) > _MAX_SEGMENTS:
        raise UserError(
            f"The label has {len(lesions)} separate lesions; a DICOM SEG can have {_MAX_SEGMENTS}. Remove the "
            "specks, or export the table of lesions.",
            HTTPStatus.UNPROCESSABLE_ENTITY,
        )
    descriptions = [
        _description(number, lesion.label, *tracking(lesion, provenance), provenance, info)
        for number, lesion in enumerate(lesions, 1)
    ]
    for lesion, description in zip(lesions, descriptions, strict=True):
        _describe(description, describe_lesion(lesion))
    return _segmentation(places.astype(np.uint16), descriptions, sources, provenance, info, of_lesions=True)


def _segmentation(
    segments: np.ndarray,
    descriptions: list[hd.seg.SegmentDescription],
    sources: SourceImages,
    provenance: Provenance,
    info: Mapping[str, Any],
    of_lesions: bool = False,
) -> hd.seg.Segmentation:
    """Make the Segmentation of a map of segment numbers (slice, row, column)."""
    sources.check(segments)
    labels = ", ".join(sorted(info["labels"], key=info["labels"].get))
    try:
        seg = hd.seg.Segmentation(
            source_images=sources.headers,
            pixel_array=sources.in_stored_order(segments),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=descriptions,
            omit_empty_frames=bool(segments.any()),  # highdicom keeps all frames of an empty mask, but warns
            series_instance_uid=provenance.lesion_seg_series_uid if of_lesions else provenance.seg_series_uid,
            series_number=(_FIRST_LESION_SERIES_NUMBER if of_lesions else _FIRST_SERIES_NUMBER) + provenance.number,
            sop_instance_uid=provenance.lesion_seg_uid if of_lesions else provenance.seg_uid,
            instance_number=1,
            manufacturer=info["name"],
            manufacturer_model_name=info["name"],
            software_versions=info["version"],
            device_serial_number=info["version"],
            content_label="LESIONS" if of_lesions else "LUNGLABEL",
            content_description=f"{labels}: {RESEARCH_USE}, not for diagnosis"[:_MAX_NAME_LENGTH],
            content_creator_name=person_name(provenance.author),
            series_description=f"{info['name']} {provenance.number}{', lesions' * of_lesions} ({RESEARCH_USE})",
        )
    except Exception as error:  # highdicom raises many kinds on headers that break the standard
        raise UserError(f"The series cannot be exported as DICOM SEG: {in_one_line(error)}.") from error
    _make_deterministic(seg, provenance)
    return seg


def algorithm_name(info: Mapping[str, Any]) -> str:
    """Return the name of the network in DICOM objects."""
    return f"{info['name']} attention residual U-Net"


def _description(
    number: int, label: str, tracking_id: str, tracking_uid: str, provenance: Provenance, info: Mapping[str, Any]
) -> hd.seg.SegmentDescription:
    codes = info["segments"][label]
    algorithm = None
    if provenance.algorithm_type != "MANUAL":
        algorithm = hd.AlgorithmIdentificationSequence(
            name=algorithm_name(info),
            family=_ARTIFICIAL_INTELLIGENCE,
            version=cast(str, provenance.model_version),  # known wherever a model was involved
            source=info["name"],
        )
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=tracking_id,
        segmented_property_category=Code(*codes["category"]),
        segmented_property_type=Code(*codes["type"]),
        algorithm_type=provenance.algorithm_type,
        algorithm_identification=algorithm,
        tracking_uid=tracking_uid,
        tracking_id=tracking_id,
        anatomic_regions=[Code(*codes["region"])],
    )


def _describe(segment: hd.seg.SegmentDescription, text: str | None) -> None:
    if text is not None:
        segment.SegmentDescription = text  # highdicom has no argument for this attribute


def _make_deterministic(seg: hd.seg.Segmentation, provenance: Provenance) -> None:
    """Replace the times and random UIDs of highdicom by ones derived from the mask."""
    seg.SpecificCharacterSet = "ISO_IR 192"
    seg.ContentDate = seg.SeriesDate = DA(provenance.when.strftime("%Y%m%d"))
    seg.ContentTime = seg.SeriesTime = TM(provenance.when.strftime("%H%M%S.%f"))
    organization = provenance.uid("dimensions")
    seg.DimensionOrganizationSequence[0].DimensionOrganizationUID = organization
    for dimension in seg.DimensionIndexSequence:
        dimension.DimensionOrganizationUID = organization


def person_name(name: str | None) -> str | None:
    """Return a name typed in a viewer as a DICOM person name: all of it as family name, without delimiters."""
    if not name:
        return None
    plain = "".join(" " if char in "^=\\" or not char.isprintable() else char for char in str(name))
    return f"{plain[:_MAX_NAME_LENGTH]}^"
