"""Stored pixel values of an image (PS3.3 C.7.6.3), before rescale, window and photometric interpretation.

ITK's reader (GDCM) inverts MONOCHROME1, fails on a decimal comma, and truncates values to Bits Stored, which turns the
padding of some scanners into bone. It is therefore used for decompression only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_pixel_data_frame
from pydicom.uid import UID, CTImageStorage, ExplicitVRBigEndian, RLELossless, generate_uid

from lib.dicomweb.dicom_file import NotUsableError, count_of, read_dicom, short_reason, text_of
from lib.dicomweb.dicom_json import to_json
from lib.dicomweb.matching import tag_of, values_of

_TAGS = [
    "SamplesPerPixel",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelData",
]
_MEANING = (
    "RescaleSlope",
    "RescaleIntercept",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)
_OVERLAY_BIT_POSITIONS = [f"60{group:02x}0102" for group in range(0, 32, 2)]


class StoredImage:
    """Pixels of a DICOM file.

    Args:
        path: A greyscale DICOM image with one or more frames, in any transfer syntax.

    Attributes:
        frame_count: Number of frames.
        is_signed: Whether values are in two's complement (Pixel Representation).

    Raises:
        NotUsableError: The file has no pixels, or they cannot be read.
    """

    def __init__(self, path: Path) -> None:
        tags = [*_TAGS, *_MEANING, *(int(tag, 16) for tag in _OVERLAY_BIT_POSITIONS)]
        self._dataset = dataset = read_dicom(path, force=True, specific_tags=tags)
        if not dataset.get("PixelData"):
            raise NotUsableError("the instance has no pixel data")
        if count_of(dataset, "SamplesPerPixel", 1) != 1:
            raise NotUsableError("colour images, which have no HU")
        self.frame_count = count_of(dataset, "NumberOfFrames", 1)
        self._syntax = UID(text_of(dataset.file_meta, "TransferSyntaxUID") or "1.2.840.10008.1.2")
        self._shape = count_of(dataset, "Rows", 0), count_of(dataset, "Columns", 0)
        self._allocated = count_of(dataset, "BitsAllocated", 16)
        self._stored = count_of(dataset, "BitsStored", self._allocated)
        self._high_bit = count_of(dataset, "HighBit", self._stored - 1)
        self.is_signed = count_of(dataset, "PixelRepresentation", 0) == 1
        if not all(self._shape):
            raise NotUsableError("the instance does not say how many rows and columns it has")
        if self._allocated not in (8, 16, 32) or not 0 < self._stored <= self._high_bit + 1 <= self._allocated:
            raise NotUsableError(
                f"{self._stored} bits stored up to bit {self._high_bit} of {self._allocated} bits allocated"
            )
        self._overlays = any(int(tag, 16) in dataset for tag in _OVERLAY_BIT_POSITIONS)

    @property
    def padding(self) -> tuple[int, int] | None:
        """Lowest and highest stored value of padding (Pixel Padding Value and Range Limit); None if not given."""
        ends = [self._padding_value(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
        first, last = ends[0], ends[1] if ends[1] is not None else ends[0]
        return None if first is None or last is None else (min(first, last), max(first, last))

    @property
    def meaning(self) -> list[list[str] | list[float]]:
        """Values of geometry and rescale attributes outside of functional groups, numbers rounded to 4 decimals."""
        header = to_json(self._dataset)
        values = [values_of(header, tag_of(keyword) or "") for keyword in _MEANING]
        return [_numbers(found) for found in values]

    def frames(self) -> Iterator[np.ndarray]:
        """Yield the stored values of each frame, an array (rows, columns), in stored order.

        Raises:
            NotUsableError: The pixel data is damaged.
        """
        try:
            yield from self._compressed() if self._syntax.is_compressed else self._plain()
        except NotUsableError:
            raise
        except Exception as error:  # pydicom and ITK raise many types on damaged items
            raise NotUsableError(f"the pixel data is damaged ({short_reason(error)})") from error

    def _plain(self) -> Iterator[np.ndarray]:
        dtype = np.dtype(f"u{self._allocated // 8}")
        big = self._syntax == ExplicitVRBigEndian and self._allocated > 8
        count = self._shape[0] * self._shape[1]
        values = np.frombuffer(self._dataset.PixelData, dtype.newbyteorder(">" if big else "<"))
        if len(values) < count * self.frame_count:
            raise NotUsableError(f"truncated: it has {len(values)} of {count * self.frame_count} pixels")
        for start in range(0, count * self.frame_count, count):
            yield self._values(values[start : start + count].astype(dtype).reshape(self._shape))

    def _compressed(self) -> Iterator[np.ndarray]:
        found = 0
        with tempfile.TemporaryDirectory() as folder:
            for frame in generate_pixel_data_frame(self._dataset.PixelData, self.frame_count):
                path = Path(folder) / "frame.dcm"
                _frame_file(self._dataset, self._syntax, frame).save_as(path, write_like_original=False)
                values = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).reshape(self._shape)
                yield self._values(values) if self._syntax == RLELossless else values
                found += 1
        if found != self.frame_count:
            raise NotUsableError(f"truncated: it has {found} of {self.frame_count} frames")

    def _values(self, cells: np.ndarray) -> np.ndarray:
        """Extract the values from unsigned cells of Bits Allocated.

        Bits above Bits Stored may be overlays (retired) or unused, and are removed. Some scanners write values that
        need more bits, such as -2000 for padding: all these bits are then set, as in any negative number.
        """
        cells = cells >> (self._high_bit + 1 - self._stored)
        signed = np.dtype(f"i{cells.dtype.itemsize}")
        if self._stored == self._allocated:
            return cells.view(signed) if self.is_signed else cells
        above = cells >> self._stored
        inside = cells & np.array((1 << self._stored) - 1, cells.dtype)
        unused = self._allocated - self._stored
        if self.is_signed:
            inside = (inside << unused).view(signed) >> unused
            cells = cells.view(signed)
        negative = (above == (1 << unused) - 1) & (not self._overlays)
        return np.where(negative, cells, inside)

    def _padding_value(self, keyword: str) -> int | None:
        """Return a padding value, interpreted by Pixel Representation regardless of its VR; None if missing."""
        try:
            value = int(self._dataset.get(keyword))
        except Exception:  # missing, or invalid; pydicom raises many types
            return None
        value &= (1 << self._allocated) - 1
        return value - (1 << self._allocated) if self.is_signed and value >> (self._allocated - 1) else value


def _numbers(texts: list[str]) -> list[str] | list[float]:
    try:
        return [round(float(text), 4) for text in texts]
    except ValueError:
        return texts


def _frame_file(dataset: Dataset, syntax: UID, frame: bytes) -> FileDataset:
    """Return a file with one compressed frame and only the attributes that the decoder needs."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    image.is_little_endian, image.is_implicit_VR = True, False
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    image.Modality, image.PhotometricInterpretation = "CT", "MONOCHROME2"
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    image.PixelSpacing, image.SamplesPerPixel = [1, 1], 1
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        if keyword in dataset:
            setattr(image, keyword, dataset[keyword].value)
    if syntax == RLELossless:  # RLE encodes whole cells; GDCM would truncate them
        image.BitsStored, image.HighBit, image.PixelRepresentation = image.BitsAllocated, image.BitsAllocated - 1, 0
    image.PixelData = encapsulate([frame])
    image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
    return image
