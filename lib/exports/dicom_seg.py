"""DICOM Segmentation objects (PS3.3 A.51), written by highdicom."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.sr.coding import Code

from lib.errors import UserError
from lib.exports.lesion_table import MeasuredLesion
from lib.exports.provenance import RESEARCH_USE, Provenance
from lib.exports.source_images import SourceImages

# It logs each module that it copies.
logging.getLogger("highdicom").setLevel(logging.WARNING)
# It warns of names that it finds unlikely, and repeats them: the server's log is no place for patients' names.
warnings.filterwarnings("ignore", module=r"highdicom\b")

_ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
_FIRST_SERIES_NUMBER = 9000
_FIRST_LESION_SERIES_NUMBER = 10000  # those of RTSTRUCT begin at 9500
_MOST_SEGMENTS = 65_535
_LONGEST_NAME = 64  # characters of a component of a person's name (PS3.5 6.2)


def segmentation(
    mask: np.ndarray, sources: SourceImages, provenance: Provenance, info: Mapping[str, Any]
) -> hd.seg.Segmentation:
    """Make the Segmentation of a mask: a binary segment for each label, frames without a voxel left out.

    A mask without any voxel has all its frames, empty: the standard knows no object without a frame, and that nothing
    was found is a finding.

    Args:
        mask: (slice, row, column) on the slices of the series, with the values of ``info["labels"]``.
        sources: The images that it lies on.
        provenance: Where it comes from. The same one makes the same instance, bit for bit.
        info: ``info.yaml``: labels, their codes under ``segments``, name and version of this app.

    Raises:
        UserError: The mask does not fit the series, or the series lacks what a Segmentation must have.
    """
    names = sorted(info["labels"], key=info["labels"].get)
    segment_numbers = np.zeros(256, np.uint8)
    segment_numbers[[info["labels"][name] for name in names]] = np.arange(1, len(names) + 1)
    descriptions = [
        _description(number, name, name, provenance.uid(f"tracking {name}"), provenance, info)
        for number, name in enumerate(names, 1)
    ]
    return _segmentation(segment_numbers[mask], descriptions, sources, provenance, info)


def lesion_segmentation(
    places: np.ndarray,
    lesions: Sequence[MeasuredLesion],
    sources: SourceImages,
    provenance: Provenance,
    info: Mapping[str, Any],
) -> hd.seg.Segmentation:
    """Make a Segmentation with a binary segment for each lesion, so that others can refer to one of them.

    Args:
        places: (slice, row, column): the number of the lesion in ``lesions``, counted from 1; 0 elsewhere.
        lesions: One at least; tracking identifier and UID of each segment are the lesion's.
        sources: The images that they lie on.
        provenance: Where the mask comes from. The same one makes the same instance, bit for bit.
        info: ``info.yaml``: the labels' codes under ``segments``, name and version of this app.

    Raises:
        UserError: The mask does not fit the series, the series lacks what a Segmentation must have, or there are more
            lesions than a Segmentation can number (Segment Number is US, PS3.3 C.8.20.4).
    """
    if len(lesions) > _MOST_SEGMENTS:
        raise UserError(
            f"The label has {len(lesions)} separate lesions; a DICOM SEG can number {_MOST_SEGMENTS}. Remove the "
            "specks, or ask for the table of lesions.",
            HTTPStatus.UNPROCESSABLE_ENTITY,
        )
    descriptions = [
        _description(number, lesion.label, *provenance.tracking(lesion.label, lesion.number), provenance, info)
        for number, lesion in enumerate(lesions, 1)
    ]
    return _segmentation(places.astype(np.uint16), descriptions, sources, provenance, info, of_lesions=True)


def _segmentation(
    segments: np.ndarray,
    descriptions: list[hd.seg.SegmentDescription],
    sources: SourceImages,
    provenance: Provenance,
    info: Mapping[str, Any],
    of_lesions: bool = False,
) -> hd.seg.Segmentation:
    """The object of a map of segment numbers (slice, row, column)."""
    sources.check(segments)
    labels = ", ".join(sorted(info["labels"], key=info["labels"].get))
    try:
        seg = hd.seg.Segmentation(
            source_images=sources.headers,
            pixel_array=sources.in_stored_order(segments),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=descriptions,
            series_instance_uid=provenance.lesion_seg_series_uid if of_lesions else provenance.seg_series_uid,
            series_number=(_FIRST_LESION_SERIES_NUMBER if of_lesions else _FIRST_SERIES_NUMBER) + provenance.number,
            sop_instance_uid=provenance.lesion_seg_uid if of_lesions else provenance.seg_uid,
            instance_number=1,
            manufacturer=info["name"],
            manufacturer_model_name=info["name"],
            software_versions=info["version"],
            device_serial_number=info["version"],
            content_label="LESIONS" if of_lesions else "LUNGLABEL",
            content_description=f"{labels}: {RESEARCH_USE}, not for diagnosis"[:_LONGEST_NAME],
            content_creator_name=person_name(provenance.author),
            series_description=f"{info['name']} {provenance.number}{', lesions' * of_lesions} ({RESEARCH_USE})",
        )
    except (ValueError, AttributeError, KeyError) as error:
        raise UserError(f"No DICOM SEG can be made of this series: {error}.") from error
    _make_repeatable(seg, provenance)
    return seg


def algorithm_name(info: Mapping[str, Any]) -> str:
    """What DICOM objects call the network."""
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
            version=provenance.model_version,
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


def _make_repeatable(seg: hd.seg.Segmentation, provenance: Provenance) -> None:
    """Put what highdicom takes from the clock and from chance into terms of the mask."""
    seg.SpecificCharacterSet = "ISO_IR 192"
    seg.ContentDate = seg.SeriesDate = provenance.when.strftime("%Y%m%d")
    seg.ContentTime = seg.SeriesTime = provenance.when.strftime("%H%M%S.%f")
    organization = provenance.uid("dimensions")
    seg.DimensionOrganizationSequence[0].DimensionOrganizationUID = organization
    for dimension in seg.DimensionIndexSequence:
        dimension.DimensionOrganizationUID = organization


def person_name(name: str | None) -> str | None:
    """A name as typed in a viewer as a person's name: all of it the family name, without the signs that part names."""
    if not name:
        return None
    plain = "".join(" " if sign in "^=\\" or not sign.isprintable() else sign for sign in str(name))
    return f"{plain[:_LONGEST_NAME]}^"
