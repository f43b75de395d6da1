"""HU of CT slices: the output of the modality LUT (PS3.3 C.11.1), whatever is said of how to display them."""

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
_HIGHEST_HU = 32767  # metal in the extended scale of scanners ends below
_HIGHEST_PADDING_HU = 3071  # padding above is no air, and would be taken for bone
_DicomJson = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class HuVolume:
    """Voxels and what to beware of in them.

    Attributes:
        voxels: (slice, row, column); int16 where they are whole numbers that fit, else float32.
        warnings: A sentence each.
    """

    voxels: np.ndarray
    warnings: list[str]


def read_hu(paths: Sequence[Path], slices: Sequence[_DicomJson], order: Sequence[int]) -> HuVolume:
    """Read the slices of files into one stack.

    Padding that would be brighter than bone becomes air. So does what no CT can measure, above 32767 HU: these are
    negative numbers that Pixel Representation calls unsigned, such as 63536 for -2000.

    Args:
        paths: Files of one slice, or of frames.
        slices: DICOM JSON of each slice with its rescale slope and intercept; those of the first file first, in the
            order of its frames.
        order: Places in ``slices`` of the slices of the stack.

    Raises:
        ValueError: Slices differ in size, or the files have more or fewer than ``slices`` says.
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
                raise ValueError(f"slices of {_size(voxels.shape[1:])} and of {_size(plane.shape)} pixels")
            if plane.dtype != np.int16 and voxels.dtype == np.int16:
                voxels = voxels.astype(np.float32)
            voxels[target[place]] = plane
            place, wrapped = place + 1, wrapped + found
    if voxels is None or place < len(slices):
        raise ValueError(f"the functional groups name {len(slices) - place} frames more than there are pixels for")
    return HuVolume(as_hu(voxels), [_wrapped(wrapped)] if wrapped else [])


def as_hu(voxels: np.ndarray) -> np.ndarray:
    """HU as int16 where they are whole numbers that fit, else as float32."""
    if voxels.dtype == np.int16:
        return voxels
    parts = list(voxels) if voxels.ndim == 3 else [voxels]  # what is computed of one slice at a time takes no memory
    integers = np.issubdtype(voxels.dtype, np.integer)
    if not integers and not all(np.isfinite(part).all() for part in parts):
        voxels = np.nan_to_num(voxels, nan=AIR_HU, posinf=AIR_HU, neginf=AIR_HU)
        parts = list(voxels) if voxels.ndim == 3 else [voxels]
    whole = integers or all(np.array_equal(part, np.rint(part)) for part in parts)
    fits = voxels.min() >= -32768 and voxels.max() <= 32767
    return voxels.astype(np.int16 if whole and fits else np.float32)


def _plane(stored: np.ndarray, header: _DicomJson, image: StoredImage) -> tuple[np.ndarray, int]:
    """HU of one slice, and how many of its values were negative numbers called unsigned."""
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


def _wrapped(count: int) -> str:
    return (
        f"{count} pixels above {_HIGHEST_HU} HU, which no CT measures: they are taken for negative numbers stored as "
        "unsigned ones (padding outside of the field of view)"
    )


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
