"""Kind of image of an instance: all slices of a scan have the same kind, a localizer or dose report another one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from pydicom.uid import UID

from lib.dicomweb.lenient_numbers import number
from lib.dicomweb.matching import first_value, tag_of, values_of

# Prefixes of the third and further values of Image Type (PS3.3 C.8.2.1.1.1, C.8.16.1.3), as written by vendors.
REFORMATTED = (
    "MPR",
    "REFORMATTED",
    "RESAMPLED",
    "MIP",
    "MINIP",
    "PROJECTION IMAGE",
    "MAX_IP",
    "MIN_IP",
    "VOLREN",
    "VRT",
)
MIN_SLICES = 3
_LOCALIZER = "LOCALIZER"
_MIN_MAJORITY = 0.9
_SAME_DIRECTION = 1e-3
_SAME_SPACING_MM = 1e-4
_CT_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.2{end}" for end in ("", ".1", ".2"))
_ENHANCED = _CT_CLASSES[1:]  # their positions are in the functional groups of the frames, which are not read here
_DicomJson = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class ImageKind:
    """Attributes that all slices of a scan have in common.

    Attributes:
        modality, sop_class: Modality and SOP Class UID.
        size: Rows and columns.
        samples: Samples per Pixel; more than 1 for colour.
        special: Value of Image Type that marks a localizer or a reformatted image; "" for others.
        spacing, orientation: Pixel Spacing, mm, and Image Orientation (Patient), rounded; None for invalid values.
        is_placed: Whether it has an Image Position (Patient).
    """

    modality: str
    sop_class: str
    size: tuple[str, str]
    samples: str
    special: str
    spacing: tuple[float | None, ...]
    orientation: tuple[float | None, ...]
    is_placed: bool

    @classmethod
    def of(cls, modality: str, instance: _DicomJson) -> ImageKind:
        """Return the kind of an instance from its modality and DICOM JSON."""
        types = [value.upper() for value in values_of(instance, "00080008")]
        special = [value for value in types if value == _LOCALIZER or value.startswith(REFORMATTED)]
        return cls(
            modality,
            first_value(instance, "SOPClassUID"),
            (first_value(instance, "Rows"), first_value(instance, "Columns")),
            first_value(instance, "SamplesPerPixel") or "1",
            special[0] if special else "",
            _rounded(instance, "PixelSpacing"),
            _rounded(instance, "ImageOrientationPatient"),
            bool(values_of(instance, "00200032")),
        )

    @classmethod
    def from_json(cls, text: str) -> ImageKind:
        """Parse the result of :meth:`to_json`."""
        values: list[Any] = [tuple(value) if isinstance(value, list) else value for value in json.loads(text)]
        return cls(*values)

    def to_json(self) -> str:
        """Return JSON text that is equal for instances of the same kind."""
        return json.dumps(astuple(self))

    @property
    def not_a_slice(self) -> str | None:
        """Reason why it cannot be a slice of a CT scan; None if it can."""
        if self.modality != "CT":
            return f"modality {self.modality or 'missing'}"
        if self.sop_class not in _CT_CLASSES:
            return f"not a CT image, but {UID(self.sop_class).name}"
        if self.special == _LOCALIZER:
            return "a localizer (scout)"
        if self.special:
            return f"computed from others (Image Type {self.special})"
        if self.samples != "1":
            return "in colour, without HU"
        if not self.is_placed and self.sop_class not in _ENHANCED:
            return "without an Image Position (Patient)"
        return None

    def differs(self, other: ImageKind) -> str | None:
        """Return the difference that keeps it from being a slice of a scan of the other kind; None if there is none."""
        for mine, others, what in (
            (UID(self.sop_class).name, UID(other.sop_class).name, ""),
            ("×".join(self.size), "×".join(other.size), " pixels"),
        ):
            if mine != others:
                return f"{mine}{what}, where the others are {others}{what}"
        if not _are_close(self.spacing, other.spacing, _SAME_SPACING_MM):
            return "with pixels of another size than the others"
        if not _are_close(self.orientation, other.orientation, _SAME_DIRECTION):
            return "in another plane than the others"
        return None


def outlier_kinds(counts: Mapping[ImageKind, int]) -> dict[ImageKind, str]:
    """Return the kinds of image in a series that are not slices of its scan, with the reason.

    Args:
        counts: Number of images (or frames) of each kind in the series.

    Returns:
        The kinds to leave out, so that the rest is one scan. Empty if all images are of one kind, or if it is ambiguous
        which of them are the scan: at least 90 % of the possible slices must be of one kind.
    """
    slices = {kind: count for kind, count in counts.items() if kind.not_a_slice is None}
    if not slices:
        return {}
    main = max(slices, key=lambda kind: slices[kind])
    others = {kind: reason for kind in slices if (reason := kind.differs(main))}
    count = sum(number for kind, number in slices.items() if kind not in others)
    if count < MIN_SLICES or count < _MIN_MAJORITY * sum(slices.values()):
        return {}
    not_slices = {kind: kind.not_a_slice or "" for kind in counts if kind not in slices}
    if sum(counts[kind] for kind in not_slices) > count:
        return {}
    return {**not_slices, **others}


def _rounded(instance: _DicomJson, keyword: str) -> tuple[float | None, ...]:
    return tuple(_number(text) for text in values_of(instance, tag_of(keyword) or ""))


def _number(text: str) -> float | None:
    try:
        return round(number(text), 5)
    except ValueError:
        return None


def _are_close(one: tuple[float | None, ...], other: tuple[float | None, ...], tolerance: float) -> bool:
    if None in one or None in other or len(one) != len(other):
        return one == other
    differences = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    return not one or bool(np.abs(differences).max() <= tolerance)
