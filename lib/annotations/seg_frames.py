"""The frames of a DICOM Segmentation (PS3.3 A.51, A.90): where each lies, whose it is, and what it marks.

``highdicom.seg.Segmentation.from_dataset`` refuses what is not written as highdicom writes it, such as a segment
number in the shared functional groups, which 3D Slicer wrote for years; ``pydicom_seg`` drops empty slices. So the
attributes are read here, each from wherever it may stand.
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
    """Reads one frame after the other, so that memory does not grow with their number where they are not compressed.

    Args:
        dataset: The object.
        path: Its file, for transfer syntaxes that pydicom cannot decode.

    Attributes:
        kind: BINARY, FRACTIONAL or LABELMAP.
        maximum: Of a FRACTIONAL one, the value that means all of a voxel (Maximum Fractional Value).
        of_segment: Places of the frames, from 0, by the number of their segment; of a LABELMAP all by each number.

    Raises:
        UserError: It is of another kind, or does not say what is needed to read it.
    """

    def __init__(self, dataset: Dataset, path: Path) -> None:
        self._dataset, self._path = dataset, path
        self._decoded: np.ndarray | None = None
        self._size = (int(dataset.Rows), int(dataset.Columns))
        self._bits = int(dataset.BitsAllocated)
        self.kind = str(dataset.get("SegmentationType") or ("BINARY" if self._bits == 1 else "missing"))
        if self.kind not in _KINDS:
            raise UserError(f"Its Segmentation Type is {self.kind}; {', '.join(_KINDS)} can be read.")
        self.maximum = int(dataset.get("MaximumFractionalValue") or 2 ** int(dataset.get("BitsStored") or 8) - 1)
        self._shared = next(iter(dataset.get("SharedFunctionalGroupsSequence") or []), Dataset())
        self._groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
        self._count = int(dataset.get("NumberOfFrames") or len(self._groups) or 1)
        if not self._groups and self._count == 1:
            self._groups = [Dataset()]
        if len(self._groups) != self._count:
            raise UserError(f"It has {self._count} frames, but functional groups for {len(self._groups)}.")
        numbers = [int(one.SegmentNumber) for one in dataset.get("SegmentSequence") or []]
        self.of_segment: dict[int, list[int]] = {}
        if self.kind == "LABELMAP":
            every = list(range(self._count))
            self.of_segment = dict.fromkeys(numbers, every)
            return
        for place in range(self._count):
            self.of_segment.setdefault(self._segment_number(place, numbers), []).append(place)

    def value(self, place: int, sequence: str, keyword: str) -> Any:
        """An attribute of a functional group (PS3.3 C.7.6.16): the frame's own, else the shared one.

        Raises:
            UserError: Neither is there.
        """
        for groups in (self._groups[place], self._shared):
            found = groups[sequence][0].get(keyword) if groups.get(sequence) else None
            if found is not None:
                return found
        raise UserError(f"Its frame {place + 1} has no {keyword}, so it cannot be told where it belongs.")

    def marked(self, number: int) -> Iterator[tuple[int, np.ndarray]]:
        """The frames of a segment: place, and bool (row, column). FRACTIONAL counts from half of the maximum on.

        Raises:
            UserError: The pixels cannot be read.
        """
        for place in self.of_segment.get(number, []):
            pixels = self._pixels(place)
            if self.kind == "FRACTIONAL":
                yield place, pixels >= self.maximum / 2
            elif self.kind == "LABELMAP":
                yield place, pixels == number
            else:
                yield place, pixels != 0

    def _segment_number(self, place: int, numbers: list[int]) -> int:
        for groups in (self._groups[place], self._shared):
            if groups.get("SegmentIdentificationSequence"):
                return int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        if len(numbers) != 1:
            raise UserError(f"Its frame {place + 1} does not say which of its {len(numbers)} segments it is of.")
        return numbers[0]

    def _pixels(self, place: int) -> np.ndarray:
        """Stored values of a frame, (row, column)."""
        syntax = self._dataset.file_meta.TransferSyntaxUID
        if syntax.is_compressed:
            if self._decoded is None:
                self._decoded = self._decode().reshape(self._count, *self._size)
            return self._decoded[place]
        length = self._size[0] * self._size[1]
        if self._bits == 1:
            return self._bit_frame(place, length, syntax).reshape(self._size)
        if self._bits not in (8, 16):
            raise UserError(f"Its pixels have {self._bits} bits; 1, 8 and 16 can be read.")
        kind = np.dtype(f"{'>' if syntax == ExplicitVRBigEndian else '<'}u{self._bits // 8}")
        stored = self._dataset.PixelData
        if len(stored) < self._count * length * kind.itemsize:
            raise UserError(f"Its pixel data end after {len(stored)} bytes, before its {self._count} frames do.")
        return np.frombuffer(stored, kind, length, place * length * kind.itemsize).reshape(self._size)

    def _bit_frame(self, place: int, length: int, syntax: str) -> np.ndarray:
        """One bit for each pixel (PS3.5 8.2): frames follow each other within a byte, unless each was padded to one."""
        packed = np.frombuffer(self._dataset.PixelData, np.uint8)
        if syntax == ExplicitVRBigEndian:
            raise UserError("Its pixels are single bits in big endian, whose order is not told.")
        close, padded = (self._count * length + 7) // 8, self._count * ((length + 7) // 8)
        start = place * length
        if len(packed) not in (close, close + 1):
            if len(packed) not in (padded, padded + 1):
                raise UserError(
                    f"Its pixel data have {len(packed)} bytes; {self._count} frames of {self._size[0]}×{self._size[1]} "
                    f"bits need {close}."
                )
            start = place * 8 * ((length + 7) // 8)
        bits = np.unpackbits(packed[start // 8 : (start + length + 7) // 8], bitorder="little")
        return bits[start % 8 :][:length]

    def _decode(self) -> np.ndarray:
        claimed = self._count * self._size[0] * self._size[1] * self._bits // 8
        if claimed > MOST_UNPACKED:
            raise UserError(f"Its pixels would take {claimed >> 20} MiB; {MOST_UNPACKED >> 20} MiB are read.")
        try:
            return self._dataset.pixel_array
        except Exception as error:  # pydicom raises many kinds, also for want of a decoder
            if self._dataset.get("PhotometricInterpretation") != "MONOCHROME2":
                raise UserError(f"Its pixels cannot be read ({error}).") from error
        return sitk.GetArrayFromImage(sitk.ReadImage(str(self._path)))
