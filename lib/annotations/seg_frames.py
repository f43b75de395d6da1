"""Frames of a DICOM Segmentation (PS3.3 A.51, A.90): position, segment and pixels of each.

``highdicom.seg.Segmentation.from_dataset`` rejects layouts that highdicom does not write itself, such as a segment
number in the shared functional groups, which 3D Slicer wrote for years; ``pydicom_seg`` drops empty slices. The
attributes are therefore read here, from every functional group in which they may occur.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian

from lib.dicomweb.image_header import MOST_UNPACKED
from lib.errors import UserError

_KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")


class SegFrames:
    """Frames of one Segmentation, read one at a time so that memory use does not grow with the number of frames.

    Only compressed pixel data are decoded as a whole.

    Args:
        dataset: The Segmentation.
        path: Its file, for transfer syntaxes that pydicom cannot decode.

    Attributes:
        kind: BINARY, FRACTIONAL or LABELMAP.
        maximum: Maximum Fractional Value of a FRACTIONAL Segmentation.
        of_segment: Frame indices (from 0) by segment number; for a LABELMAP, all frames for every number.

    Raises:
        UserError: The segmentation type is unsupported, or a required attribute is missing.
    """

    def __init__(self, dataset: Dataset, path: Path) -> None:
        self._dataset, self._path = dataset, path
        self._decoded: np.ndarray | None = None
        self._size = (int(dataset.Rows), int(dataset.Columns))
        self._bits = int(dataset.BitsAllocated)
        self.kind = str(dataset.get("SegmentationType") or ("BINARY" if self._bits == 1 else "missing"))
        if self.kind not in _KINDS:
            raise UserError(f"The Segmentation Type {self.kind} is not supported; use one of {', '.join(_KINDS)}.")
        self.maximum = int(dataset.get("MaximumFractionalValue") or 2 ** int(dataset.get("BitsStored") or 8) - 1)
        self._shared = next(iter(dataset.get("SharedFunctionalGroupsSequence") or []), Dataset())
        self._groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
        self._count = int(dataset.get("NumberOfFrames") or len(self._groups) or 1)
        if not self._groups and self._count == 1:
            self._groups = [Dataset()]
        if len(self._groups) != self._count:
            raise UserError(f"The object has {self._count} frames, but functional groups for {len(self._groups)}.")
        numbers = [int(one.SegmentNumber) for one in dataset.get("SegmentSequence") or []]
        self.of_segment: dict[int, list[int]] = {}
        if self.kind == "LABELMAP":
            every = list(range(self._count))
            self.of_segment = dict.fromkeys(numbers, every)
            return
        for frame in range(self._count):
            self.of_segment.setdefault(self._segment_number(frame, numbers), []).append(frame)

    def value(self, frame: int, sequence: str, keyword: str) -> Any:
        """Return an attribute of a functional group (PS3.3 C.7.6.16): per-frame if present, else shared.

        Raises:
            UserError: The attribute is in neither group.
        """
        for groups in (self._groups[frame], self._shared):
            found = groups[sequence][0].get(keyword) if groups.get(sequence) else None
            if found is not None:
                return found
        raise UserError(f"Frame {frame + 1} has no {keyword}, so its position is unknown.")

    def masks_of(self, number: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the frames of a segment: frame index and boolean mask (row, column).

        FRACTIONAL pixels are thresholded at half of the maximum.

        Raises:
            UserError: The pixels cannot be read.
        """
        for frame in self.of_segment.get(number, []):
            pixels = self._pixels(frame)
            if self.kind == "FRACTIONAL":
                yield frame, pixels >= self.maximum / 2
            elif self.kind == "LABELMAP":
                yield frame, pixels == number
            else:
                yield frame, pixels != 0

    def _segment_number(self, frame: int, numbers: list[int]) -> int:
        for groups in (self._groups[frame], self._shared):
            if groups.get("SegmentIdentificationSequence"):
                return int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        if len(numbers) != 1:
            raise UserError(f"Frame {frame + 1} does not name its segment, and there are {len(numbers)} segments.")
        return numbers[0]

    def _pixels(self, frame: int) -> np.ndarray:
        """Return the stored values of a frame (row, column)."""
        syntax = self._dataset.file_meta.TransferSyntaxUID
        if syntax.is_compressed:
            if self._decoded is None:
                self._decoded = self._decode().reshape(self._count, *self._size)
            return self._decoded[frame]
        length = self._size[0] * self._size[1]
        if self._bits == 1:
            return self._bit_frame(frame, length, syntax).reshape(self._size)
        if self._bits not in (8, 16):
            raise UserError(f"Pixels of {self._bits} bits are not supported; only 1, 8 and 16 bits are.")
        kind = np.dtype(f"{'>' if syntax == ExplicitVRBigEndian else '<'}u{self._bits // 8}")
        stored = self._dataset.PixelData
        if len(stored) < self._count * length * kind.itemsize:
            raise UserError(f"The pixel data are truncated: {len(stored)} bytes for {self._count} frames.")
        return np.frombuffer(stored, kind, length, frame * length * kind.itemsize).reshape(self._size)

    def _bit_frame(self, frame: int, length: int, syntax: str) -> np.ndarray:
        """Return a frame of one bit per pixel (PS3.5 8.2); frames are bit-packed, or each is padded to whole bytes."""
        packed = np.frombuffer(self._dataset.PixelData, np.uint8)
        if syntax == ExplicitVRBigEndian:
            raise UserError("Pixels of one bit in big endian are not supported: their bit order is ambiguous.")
        close, padded = (self._count * length + 7) // 8, self._count * ((length + 7) // 8)
        start = frame * length
        if len(packed) not in (close, close + 1):
            if len(packed) not in (padded, padded + 1):
                raise UserError(
                    f"The pixel data have {len(packed)} bytes; {self._count} frames of {self._size[0]}×{self._size[1]} "
                    f"bits need {close}."
                )
            start = frame * 8 * ((length + 7) // 8)
        bits = np.unpackbits(packed[start // 8 : (start + length + 7) // 8], bitorder="little")
        return bits[start % 8 :][:length]

    def _decode(self) -> np.ndarray:
        claimed = self._count * self._size[0] * self._size[1] * self._bits // 8
        if claimed > MOST_UNPACKED:
            raise UserError(
                f"The decoded pixels would take {claimed >> 20} MiB; the limit is {MOST_UNPACKED >> 20} MiB."
            )
        try:
            return self._dataset.pixel_array
        except Exception as error:  # pydicom raises many kinds, also if a decoder is missing
            if self._dataset.get("PhotometricInterpretation") != "MONOCHROME2":
                raise UserError(f"The pixels cannot be read ({error}).") from error
        return sitk.GetArrayFromImage(sitk.ReadImage(str(self._path)))
