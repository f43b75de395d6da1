"""Check of whether a series can be segmented, with warnings if it can."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_description
from pydicom.uid import UID

from lib.datastore.acquisition_warnings import kernel_warning, thick_warning
from lib.dicomweb.frames import CT_IMAGE_STORAGE, MULTI_FRAME_CT, is_multi_frame, slice_headers
from lib.dicomweb.image_file import ImageFile
from lib.dicomweb.image_kind import REFORMATTED
from lib.dicomweb.lenient_numbers import number
from lib.dicomweb.matching import tag_of, values_of
from lib.geometry.slice_stack import SliceStack
from lib.geometry.voxel_grid import check_voxel_size

MIN_SLICES = 3
_MIN_FRAMES = 2  # the frames of a multi-frame instance are one stack by definition
_FEW_SLICES = 10
_AIR_HU = -500.0
_USUAL_INTERCEPTS = (-1024.0, -1000.0, 0.0, -8192.0)
_DicomJson = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class SeriesUsability:
    """Result of checking a series.

    Attributes:
        problem: Why it cannot be segmented; None if it can.
        warnings: Warnings for the user, one sentence each.
    """

    problem: str | None = None
    warnings: tuple[str, ...] = ()


def check_series(modality: str, instances: Sequence[_DicomJson]) -> SeriesUsability:
    """Check a series by its headers.

    Args:
        modality: Modality of the series.
        instances: DICOM JSON of its instances, including functional groups for multi-frame ones. Positions that a PACS
            did not return are checked only when the volume is loaded.
    """
    problem = _no_scan(modality, instances) or _no_stack(instances)
    if problem:
        return SeriesUsability(problem)
    slices = slice_headers(instances)
    stack = None
    if all(_get(one, "ImagePositionPatient") for one in slices):
        try:
            stack = SliceStack.from_headers(slices)
        except ValueError as error:
            return SeriesUsability(str(error))
    if stack is None:
        return SeriesUsability()
    return SeriesUsability(warnings=(*_geometry_warnings(stack), *_scan_warnings(slices, stack.typical_gap)))


def check_image_file(image: ImageFile) -> SeriesUsability:
    """Check a NIfTI, NRRD or MetaImage file by its header."""
    if image.size[2] < MIN_SLICES:
        return SeriesUsability(f"{image.size[2]} slice(s); at least {MIN_SLICES} are needed for a volume")
    try:
        check_voxel_size(image.spacing[:3])
    except ValueError as error:
        return SeriesUsability(str(error))
    warnings = ["an image file, not DICOM: open it in 3D Slicer, OHIF cannot show it", *image.warnings]
    if image.lowest > _AIR_HU:
        warnings.append(f"lowest value {image.lowest:g}: without the air around a patient, the values may not be HU")
    return SeriesUsability(warnings=(*warnings, *thick_warning(max(image.spacing[:3]))))


def _no_scan(modality: str, instances: Sequence[_DicomJson]) -> str | None:
    """Return why a series is not a CT scan, or None."""
    if modality != "CT":
        return f"modality {modality or 'missing'}; only CT is segmented"
    others = {value for one in instances for value in _get(one, "SOPClassUID")} - {CT_IMAGE_STORAGE, *MULTI_FRAME_CT}
    if others:
        return f"not CT images, but {', '.join(sorted(UID(other).name for other in others))}"
    types = {value.upper() for one in slice_headers(instances) for value in _get(one, "ImageType")}
    if "LOCALIZER" in types:
        scouts = sum("LOCALIZER" in _get(one, "ImageType") for one in instances)
        return f"a localizer (scout), not a scan: {scouts} of {len(instances)} images are localizers"
    reformatted = sorted(value for value in types if value.startswith(REFORMATTED))
    if reformatted:
        return f"computed from another series (Image Type {', '.join(reformatted)}), not an acquired scan"
    return None


def _no_stack(instances: Sequence[_DicomJson]) -> str | None:
    """Return why the images are not slices of one volume, or None."""
    slices, few = slice_headers(instances), _MIN_FRAMES if is_multi_frame(instances) else MIN_SLICES
    if len(slices) < few:
        return f"{len(slices)} slice(s); at least {few} are needed for a volume"
    for keyword, what in (("Rows", "image heights"), ("Columns", "image widths"), ("PixelSpacing", "pixel sizes")):
        kinds = Counter(tuple(_get(one, keyword)) for one in slices)
        if len(kinds) > 1:
            named = ", ".join(f"{'×'.join(kind) or 'none'} ({count} slices)" for kind, count in kinds.most_common())
            return f"slices of different {what}: {named}"
    if any(value not in ("", "1") for one in slices for value in _get(one, "SamplesPerPixel")):
        return "colour images, which have no HU"
    placed = [bool(_get(one, "ImagePositionPatient")) for one in slices]
    if any(placed) and not all(placed):
        return f"{placed.count(False)} of {len(placed)} slices have no Image Position (Patient)"
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        unreadable = {text for one in slices for text in _get(one, keyword)[:1] if text and _parsed(text) is None}
        if unreadable:
            return f"{dictionary_description(keyword)} is not a number: {min(unreadable)[:40]!r}"
    if any(_number(one, "RescaleSlope") == 0 for one in slices):
        return "Rescale Slope is 0, so all values would be the same"
    return None


def _geometry_warnings(stack: SliceStack) -> list[str]:
    warnings = []
    if stack.is_uneven:
        warnings.append(
            f"{_uneven_gaps(stack)}: interpolated for the model; viewers stack the slices evenly, displaced by up to "
            f"{stack.displacement_mm:.1f} mm"
        )
    if stack.tilt_degrees:
        warnings.append(
            f"gantry tilt of {stack.tilt_degrees:.1f}°: corrected for the model; OHIF shows the slices unsheared"
        )
    if len(stack.positions) < _FEW_SLICES:
        warnings.append(f"only {len(stack.positions)} slices: the model sees little context above and below")
    return warnings


def _uneven_gaps(stack: SliceStack) -> str:
    gaps = np.diff(stack.distances)
    if not stack.uneven_gaps.size:
        return f"gaps between slices from {gaps.min():.3f} to {gaps.max():.3f} mm, which add up"
    where = max(stack.uneven_gaps, key=lambda place: abs(gaps[place] - stack.typical_gap))
    return (
        f"{len(stack.uneven_gaps)} uneven gap(s) between slices, such as {gaps[where]:.2f} mm instead of "
        f"{stack.typical_gap:.2f} mm, {stack.describe_gap(where)}"
    )


def _scan_warnings(slices: Sequence[_DicomJson], gap: float) -> list[str]:
    thickness = [value for value in (_number(one, "SliceThickness") for one in slices) if value]
    kernels = sorted({value for one in slices for value in _get(one, "ConvolutionKernel")[:1]})
    warnings = [*thick_warning(max(gap, *thickness, 0.0)), *(text for one in kernels for text in kernel_warning(one))]
    if not any(_get(one, "BitsAllocated") for one in slices):
        return warnings  # the PACS returned only mandatory attributes; the others may be in the files
    types = {value.upper() for one in slices for value in _get(one, "RescaleType")}
    rescale = {(_number(one, "RescaleSlope"), _number(one, "RescaleIntercept")) for one in slices}
    if types - {"HU"}:  # without a type, the values are HU (PS3.3 C.8.2.1)
        warnings.append(f"Rescale Type is {', '.join(sorted(types))}, not HU: the values may mean something else")
    elif (None, None) in rescale:
        warnings.append("Rescale Slope and Intercept are missing: the stored values are assumed to be HU")
    known = {(slope or 1.0, intercept or 0.0) for slope, intercept in rescale}
    unusual = {(slope, intercept) for slope, intercept in known if slope != 1 or intercept not in _USUAL_INTERCEPTS}
    if unusual:
        slope, intercept = min(unusual, key=str)
        warnings.append(f"Rescale Slope {slope:g} and Intercept {intercept:g} are unusual: the values may not be HU")
    agents = sorted({value for one in slices for value in _get(one, "ContrastBolusAgent")} - {"", "NONE", "None", "NO"})
    if agents:
        warnings.append(f"contrast medium ({', '.join(agents)}): the shipped model mistakes bright vessels for tumour")
    return warnings


def _number(one: _DicomJson, keyword: str) -> float | None:
    return _parsed(next(iter(_get(one, keyword)), ""))


def _parsed(text: str) -> float | None:
    try:
        return number(text)
    except ValueError:
        return None


def _get(one: _DicomJson, keyword: str) -> list[str]:
    return values_of(one, tag_of(keyword) or "")
