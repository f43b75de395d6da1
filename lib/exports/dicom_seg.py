"""DICOM Segmentation objects (PS3.3 A.51), written by highdicom."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.sr.coding import Code

from lib.errors import UserError
from lib.exports.provenance import RESEARCH_USE, Provenance
from lib.exports.source_images import SourceImages

# It logs each module that it copies.
logging.getLogger("highdicom").setLevel(logging.WARNING)

_ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
_FIRST_SERIES_NUMBER = 9000
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
    sources.check(mask)
    names = sorted(info["labels"], key=info["labels"].get)
    segment_numbers = np.zeros(256, np.uint8)
    segment_numbers[[info["labels"][name] for name in names]] = np.arange(1, len(names) + 1)
    try:
        seg = hd.seg.Segmentation(
            source_images=sources.headers,
            pixel_array=segment_numbers[sources.in_stored_order(mask)],
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_description(number, name, provenance, info) for number, name in enumerate(names, 1)],
            series_instance_uid=provenance.seg_series_uid,
            series_number=_FIRST_SERIES_NUMBER + provenance.number,
            sop_instance_uid=provenance.seg_uid,
            instance_number=1,
            manufacturer=info["name"],
            manufacturer_model_name=info["name"],
            software_versions=info["version"],
            device_serial_number=info["version"],
            content_label="LUNGLABEL",
            content_description=f"{', '.join(names)}: {RESEARCH_USE}, not for diagnosis"[:_LONGEST_NAME],
            content_creator_name=_person(provenance.author),
            series_description=f"{info['name']} {provenance.number} ({RESEARCH_USE})",
        )
    except (ValueError, AttributeError, KeyError) as error:
        raise UserError(f"No DICOM SEG can be made of this series: {error}.") from error
    _make_repeatable(seg, provenance)
    return seg


def _description(number: int, name: str, provenance: Provenance, info: Mapping[str, Any]) -> hd.seg.SegmentDescription:
    codes = info["segments"][name]
    algorithm = None
    if provenance.algorithm_type != "MANUAL":
        algorithm = hd.AlgorithmIdentificationSequence(
            name=f"{info['name']} attention residual U-Net",
            family=_ARTIFICIAL_INTELLIGENCE,
            version=provenance.model_version,
            source=info["name"],
        )
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=Code(*codes["category"]),
        segmented_property_type=Code(*codes["type"]),
        algorithm_type=provenance.algorithm_type,
        algorithm_identification=algorithm,
        tracking_uid=provenance.uid(f"tracking {name}"),
        tracking_id=name,
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


def _person(name: str | None) -> str | None:
    """A name as typed in a viewer as a person's name: all of it the family name, without the signs that part names."""
    if not name:
        return None
    plain = "".join(" " if sign in "^=\\" or not sign.isprintable() else sign for sign in str(name))
    return f"{plain[:_LONGEST_NAME]}^"
