"""DICOM images of a series, as referenced by the objects made from its masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VM
from pydicom.valuerep import DA, TM, DSfloat

from lib.dicomweb.frames import is_multi_frame, slice_headers
from lib.errors import UserError
from lib.geometry.slice_stack import SliceStack

# Patient, study, series, identification and geometry: attributes that derived objects copy from the image.
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
        headers: Headers without pixel data: one per slice in the order of the volume, or that of the multi-frame image.
        stack: Positions of the slices, in the order of the volume.
        frame_numbers: For a multi-frame image the frame number (from 1) of each slice of the volume; else None.
    """

    headers: list[Dataset]
    stack: SliceStack
    frame_numbers: list[int] | None

    @classmethod
    def of(cls, metadata: Sequence[_DicomJson]) -> SourceImages:
        """Read the WADO-RS metadata of a series (PS3.18 F.2), in any order.

        Raises:
            UserError: There is no metadata, or the images do not form one volume.
        """
        if not metadata:
            raise UserError(
                "The image is not a DICOM series, so no DICOM object can reference it; export NIfTI instead."
            )
        multi_frame = is_multi_frame(metadata)
        if multi_frame and len(metadata) > 1:
            raise UserError(
                f"The series has {len(metadata)} multi-frame images; a DICOM object of a mask can reference only one.",
                HTTPStatus.UNPROCESSABLE_ENTITY,
            )
        try:
            stack = SliceStack.from_headers(slice_headers(metadata))
        except ValueError as error:
            raise UserError(
                f"The series is not a stack of slices: {error}.", HTTPStatus.UNPROCESSABLE_ENTITY
            ) from error
        if multi_frame:
            return cls([_header(metadata[0])], stack, [place + 1 for place in stack.order])
        headers = [_header(metadata[place]) for place in stack.order]
        for header in headers:
            if not header.get("SliceThickness"):
                header.SliceThickness = _ds(stack.typical_gap)
            # Unevenly spaced slices have no common spacing; each frame has its own position.
            header.SpacingBetweenSlices = None if stack.is_uneven else _ds(stack.typical_gap)
            if header.SpacingBetweenSlices is None:
                del header.SpacingBetweenSlices
        return cls(headers, stack, None)

    def check(self, mask: np.ndarray) -> None:
        """Check that a mask (slice, row, column) has as many slices as the series, which may have grown since.

        Raises:
            UserError: The numbers differ.
        """
        if len(mask) != len(self.stack.order):
            raise UserError(
                f"The label has {len(mask)} slices, but the series now has {len(self.stack.order)}.",
                HTTPStatus.CONFLICT,
            )

    def image_of_slice(self, place: int) -> tuple[Dataset, int | None]:
        """Return the header of the image of a slice of the volume, and its frame number if it is a multi-frame one."""
        if self.frame_numbers is None:
            return self.headers[place], None
        return self.headers[0], self.frame_numbers[place]

    def in_stored_order(self, mask: np.ndarray) -> np.ndarray:
        """Return a mask with its slices reordered from volume order to the order of the stored frames."""
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
        except (ValueError, TypeError, KeyError):  # one invalid value must not fail the export
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
            "The series has no Frame of Reference UID, so a DICOM object cannot state the position of its masks.",
            HTTPStatus.UNPROCESSABLE_ENTITY,
        )
    return header


def _add(header: Dataset, tag: str, element: dict[str, Any]) -> None:
    parsed: DataElement = Dataset.from_json({tag: element})[tag]
    if parsed.VR in _PARSED and parsed.value:
        _PARSED[parsed.VR](parsed.value)
    if parsed.VM > 1 and _is_single(parsed):
        if parsed.VR != "PN":
            raise ValueError(f"{parsed.name} has {parsed.VM} values")
        parsed.value = " ".join(map(str, parsed.value))  # a name with a backslash
    if parsed.VR == "DS" and parsed.value is not None and parsed.VM:
        values = parsed.value if parsed.VM > 1 else [parsed.value]
        parsed.value = [_ds(float(value)) for value in values] if parsed.VM > 1 else _ds(float(values[0]))
    header.add(parsed)


def _is_single(element: DataElement) -> bool:
    """Return whether a name or number must have one value, of which highdicom takes no list."""
    return element.VR in ("PN", "DS", "IS") and dictionary_has_tag(element.tag) and dictionary_VM(element.tag) == "1"


def _ds(value: float) -> DSfloat:
    """Return a decimal string of at most 16 characters (PS3.5 6.2); JSON may have more digits."""
    return DSfloat(value, auto_format=True)
