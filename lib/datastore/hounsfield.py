"""HU of CT slices: the output of the modality LUT (PS3.3 C.11.1), regardless of display attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.dicomweb.lenient_numbers import number
from lib.dicomweb.matching import first_value
from lib.dicomweb.stored_values import StoredImage

AIR_HU = -1024
_HIGHEST_HU = 32767  # above the extended HU scale of scanners, metal included
_HIGHEST_PADDING_HU = 3071  # padding above this would be mistaken for bone
_DicomJson = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class HuVolume:
    """Voxels in HU, with warnings about them.

    Attributes:
        voxels: (slice, row, column); int16 if all values are integers in its range, else float32.
        warnings: One sentence each.
    """

    voxels: np.ndarray
    warnings: list[str]


def read_hu(paths: Sequence[Path], slices: Sequence[_DicomJson], order: Sequence[int]) -> HuVolume:
    """Read the slices of DICOM files into one stack.

    Padding that would be brighter than bone becomes air. Values above 32767 HU, which no CT can measure, are negative
    numbers whose Pixel Representation wrongly says unsigned, such as 63536 for -2000; they are corrected.

    Args:
        paths: Files, each with one slice or several frames.
        slices: DICOM JSON of each slice with its rescale slope and intercept, in the order of the files and of their
            frames.
        order: Indices into ``slices``, in the order of the stack.

    Raises:
        ValueError: Slices differ in size, or the number of frames is not that of ``slices``.
        NotUsableError: The pixels of a file cannot be read.
    """
    target = np.argsort(order)
    voxels: np.ndarray | None = None
    place = wrapped = 0
    for path in paths:
        image = StoredImage(path)
        for stored in image.frames():
            if place == len(slices):
                raise ValueError(f"more frames of pixels than the {len(slices)} in the functional groups")
            plane, found = _plane(stored, slices[place], image)
            if voxels is None:
                voxels = np.empty((len(slices), *plane.shape), np.int16)
            if plane.shape != voxels.shape[1:]:
                raise ValueError(f"slices of {_size(voxels.shape[1:])} and {_size(plane.shape)} pixels in one series")
            if plane.dtype != np.int16 and voxels.dtype == np.int16:
                voxels = voxels.astype(np.float32)
            voxels[target[place]] = plane
            place, wrapped = place + 1, wrapped + found
    if voxels is None or place < len(slices):
        raise ValueError(f"the functional groups describe {len(slices) - place} frames more than have pixels")
    return HuVolume(as_hu(voxels), [_wrapped_warning(wrapped)] if wrapped else [])


def as_hu(voxels: np.ndarray) -> np.ndarray:
    """Return HU as int16 if all values are integers in its range, else as float32; NaN and infinities become air."""
    if voxels.dtype == np.int16:
        return voxels
    parts = list(voxels) if voxels.ndim == 3 else [voxels]  # slice by slice, to save memory
    integers = np.issubdtype(voxels.dtype, np.integer)
    if not integers and not all(np.isfinite(part).all() for part in parts):
        voxels = np.nan_to_num(voxels, nan=AIR_HU, posinf=AIR_HU, neginf=AIR_HU)
        parts = list(voxels) if voxels.ndim == 3 else [voxels]
    whole = integers or all(np.array_equal(part, np.rint(part)) for part in parts)
    fits = voxels.min() >= -32768 and voxels.max() <= 32767
    return voxels.astype(np.int16 if whole and fits else np.float32)


def _plane(stored: np.ndarray, header: _DicomJson, image: StoredImage) -> tuple[np.ndarray, int]:
    """Return one slice (row, column) in HU, and the number of negative values that were stored as unsigned."""
    slope = number(first_value(header, "RescaleSlope") or "1")
    intercept = number(first_value(header, "RescaleIntercept") or "0")
    plane = stored * slope + intercept
    if image.padding:
        low, high = image.padding
        plane[(stored >= low) & (stored <= high) & (plane > _HIGHEST_PADDING_HU)] = AIR_HU
    beyond = plane > _HIGHEST_HU
    count = 0 if image.is_signed else int(beyond.sum())
    if count:
        plane[beyond] -= (int(np.iinfo(stored.dtype).max) + 1) * slope
    return as_hu(plane), count


def _wrapped_warning(count: int) -> str:
    return (
        f"{count} pixels above {_HIGHEST_HU} HU, which no CT measures: they are read as negative numbers stored as "
        "unsigned (padding outside the field of view)"
    )


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
