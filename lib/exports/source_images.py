"""The DICOM images that a mask lies on, as the objects made of the mask refer to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.valuerep import DA, TM, DSfloat

from lib.dicomweb.frames import is_multi_frame, slice_headers
from lib.errors import UserError
from lib.geometry.slice_stack import SliceStack

# Patient, study, series, identification and geometry: what objects made of an image take over from it.
_GROUPS = ("0008", "0010", "0020", "0028", "5200")
_SLICE_THICKNESS, _SPACING_BETWEEN_SLICES = "00180050", "00180088"
_PARSED = {"DA": DA, "TM": TM}  # highdicom parses dates and times
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_SEXES = ("M", "F", "O", "")
_DicomJson = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class SourceImages:
    """The images of a series.

    Attributes:
        headers: Without pixel data. Of single-frame images one for each slice, in the order of the volume; or the one
            multi-frame image.
        stack: Where the slices lie, in the order of the volume.
        frame_numbers: Of a multi-frame image, for each slice of the volume its frame, counted from 1; None else.
    """

    headers: list[Dataset]
    stack: SliceStack
    frame_numbers: list[int] | None

    @classmethod
    def of(cls, metadata: Sequence[_DicomJson]) -> SourceImages:
        """Read the WADO-RS metadata of a series (PS3.18 F.2), in any order.

        Raises:
            UserError: There are none, or they cannot be referred to as one volume.
        """
        if not metadata:
            raise UserError("The image comes from no DICOM series, so no DICOM object can refer to it; ask for NIfTI.")
        multi_frame = is_multi_frame(metadata)
        if multi_frame and len(metadata) > 1:
            raise UserError(
                f"The series has {len(metadata)} multi-frame images; a DICOM object made of a mask can refer to one.",
                HTTPStatus.UNPROCESSABLE_ENTITY,
            )
        try:
            stack = SliceStack.from_headers(slice_headers(metadata))
        except ValueError as error:
            raise UserError(f"The series is no stack of slices: {error}.", HTTPStatus.UNPROCESSABLE_ENTITY) from error
        if multi_frame:
            return cls([_header(metadata[0])], stack, [place + 1 for place in stack.order])
        headers = [_header(metadata[place]) for place in stack.order]
        for header in headers:
            if not header.get("SliceThickness"):
                header.SliceThickness = _ds(stack.typical_gap)
            # Uneven slices have no one spacing; the position of each frame says where it lies.
            header.SpacingBetweenSlices = None if stack.uneven_gaps.size else _ds(stack.typical_gap)
            if header.SpacingBetweenSlices is None:
                del header.SpacingBetweenSlices
        return cls(headers, stack, None)

    def check(self, mask: np.ndarray) -> None:
        """Raise a UserError where a mask (slice, row, column) has other slices: some have come since."""
        if len(mask) != len(self.stack.order):
            raise UserError(
                f"The label has {len(mask)} slices; the series has {len(self.stack.order)} now.", HTTPStatus.CONFLICT
            )

    def in_stored_order(self, mask: np.ndarray) -> np.ndarray:
        """Put the slices of a mask from the volume's order into that of the headers' frames."""
        if self.frame_numbers is None:
            return mask
        stored = np.empty_like(mask)
        stored[np.array(self.frame_numbers) - 1] = mask
        return stored


def _header(metadata: _DicomJson) -> Dataset:
    header = Dataset()
    for tag, element in metadata.items():
        wanted = tag.startswith(_GROUPS) or tag in (_SLICE_THICKNESS, _SPACING_BETWEEN_SLICES)
        if not wanted or "BulkDataURI" in element or "InlineBinary" in element:
            continue
        try:
            _add(header, tag, element)
        except (ValueError, TypeError, KeyError):  # one odd value must not cost the export
            continue
    for keyword in _TYPE_2:
        if keyword not in header:
            setattr(header, keyword, "")
    if header.PatientSex not in _SEXES:
        header.PatientSex = ""
    if "LossyImageCompressionRatio" not in header or "LossyImageCompressionMethod" not in header:
        header.pop("LossyImageCompression", None)
    if not header.get("FrameOfReferenceUID"):
        raise UserError(
            "The series has no Frame of Reference UID, so a DICOM object could not say where a mask of it lies.",
            HTTPStatus.UNPROCESSABLE_ENTITY,
        )
    return header


def _add(header: Dataset, tag: str, element: dict[str, Any]) -> None:
    parsed: DataElement = Dataset.from_json({tag: element})[tag]
    if parsed.VR in _PARSED and parsed.value:
        _PARSED[parsed.VR](parsed.value)
    if parsed.VR == "DS" and parsed.value is not None and parsed.VM:
        values = parsed.value if parsed.VM > 1 else [parsed.value]
        parsed.value = [_ds(float(value)) for value in values] if parsed.VM > 1 else _ds(float(values[0]))
    header.add(parsed)


def _ds(value: float) -> DSfloat:
    """A decimal string of at most 16 characters (PS3.5 6.2); JSON has more digits than fit."""
    return DSfloat(value, auto_format=True)
