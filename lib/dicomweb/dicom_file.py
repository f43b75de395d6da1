"""Reading one DICOM file: its header for the index, for WADO metadata, and its frames."""

from __future__ import annotations

import contextlib
import hashlib
import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_pixel_data_frame
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from lib.dicomweb import attributes
from lib.errors import in_one_line

_TAGS = [*attributes.STUDY, *attributes.SERIES, *attributes.INSTANCE]
_MAX_INLINE_BYTES = 1024
_MOST_INFLATED = 1 << 30  # bytes of a deflated dataset, pixels included
_MOST_RATIO = 1032  # of compressed pixels; blank slices are packed tighter, so small images are not judged by it
_SMALL_IMAGE = 64 << 20  # bytes
_CHUNK = 1 << 20
_PIXEL_MEANING = ("Rows", "Columns", "BitsAllocated", "PixelRepresentation", "RescaleSlope", "RescaleIntercept")
_AVAILABLE_TRANSFER_SYNTAX_UID = "00083002"


class NotUsableError(Exception):
    """A file that cannot be used as a DICOM instance; the message is the reason, in plain words."""


def read_index_header(path: Path) -> tuple[Dataset, str]:
    """Read what the index keeps of a file.

    Args:
        path: Any file at all.

    Returns:
        The attributes of :mod:`lib.dicomweb.attributes` that the file has, and its transfer syntax UID.

    Raises:
        NotUsableError: It is not a DICOM instance, or damaged.
    """
    size = path.stat().st_size
    if size == 0:
        raise NotUsableError("empty file")
    try:
        dataset, pixels_at = _read(path, specific_tags=_TAGS)
        sop_class = str(dataset.get("SOPClassUID", ""))
        transfer_syntax = str(dataset.file_meta.get("TransferSyntaxUID", "")) or "1.2.840.10008.1.2"
        media_class = str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    except InvalidDicomError:
        raise NotUsableError("not a DICOM file") from None
    except NotUsableError:
        raise
    except Exception as error:  # pydicom raises many kinds on damaged files; one must not stop the scan
        _check_system(error)
        raise NotUsableError(f"damaged DICOM file ({in_one_line(error)})") from error
    if media_class == MediaStorageDirectoryStorage:
        raise NotUsableError("DICOMDIR, a table of contents; the files it names are read themselves")
    if not sop_class:
        if dataset.get("Modality") != "CT" or "Rows" not in dataset:
            raise NotUsableError("no SOP Class UID, and not recognisable as a CT image without it")
        dataset.SOPClassUID = media_class or CTImageStorage
    _check_length(dataset, transfer_syntax, size - min(pixels_at, size))
    return dataset, transfer_syntax


def check_elements(path: Path) -> None:
    """Refuse a file in which an element claims more bytes than there are: GDCM takes them first, up to 4 GiB.

    The index looks no farther than the pixels; what follows them is read with the volume.

    Raises:
        NotUsableError: The file is damaged so.
    """
    with path.open("rb") as file:
        _check_inflated(file)
        with contextlib.suppress(Exception):  # damaged in another way: GDCM has the last word
            dcmread(file, force=True, specific_tags=["SOPClassUID"])
        if file.tell() > path.stat().st_size:
            raise NotUsableError("damaged DICOM file: an element claims more bytes than the file has")


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the whole header as DICOM JSON (PS3.18 F) without pixel data.

    Binary values over 1 KiB (private blocks, lookup tables, overlays) are left out: no viewer here asks for
    them, and inlined they would make the answer many times as long.

    Raises:
        NotUsableError: The header is damaged beyond what the index keeps of it.
    """
    try:
        return _metadata(_read(path)[0])
    except NotUsableError:
        raise
    except Exception as error:  # pydicom raises many kinds on damaged files
        _check_system(error)
        raise NotUsableError(f"damaged DICOM file ({in_one_line(error)})") from error


def _check_system(error: Exception) -> None:
    """Raise an error that says nothing of the file: the disk or network does not hand it out."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _metadata(dataset: Dataset) -> dict[str, Any]:
    transfer_syntax = str(dataset.file_meta.get("TransferSyntaxUID", "")) or "1.2.840.10008.1.2"
    for element in list(dataset):
        if isinstance(element.value, bytes) and len(element.value) > _MAX_INLINE_BYTES:
            del dataset[element.tag]
    metadata = dataset.to_json_dict(suppress_invalid_tags=True)
    metadata[_AVAILABLE_TRANSFER_SYNTAX_UID] = {"vr": "UI", "Value": [transfer_syntax]}
    return metadata


def read_frames(path: Path, frame_numbers: list[int]) -> tuple[UID, list[bytes]]:
    """Read frames as they are stored, in little endian where they are not compressed.

    Args:
        path: A DICOM image.
        frame_numbers: Which frames, counted from 1.

    Returns:
        The transfer syntax UID of the returned bytes, and the bytes of each frame.

    Raises:
        IndexError: The image has no such frame.
        NotUsableError: The file has no pixel data, or it is damaged.
    """
    try:
        return _frames(path, frame_numbers)
    except (NotUsableError, LookupError):
        raise
    except Exception as error:  # pydicom raises many kinds on damaged items and offset tables (PS3.5 A.4)
        _check_system(error)
        raise NotUsableError(f"the pixel data of the instance is damaged ({in_one_line(error)})") from error


def _frames(path: Path, frame_numbers: list[int]) -> tuple[UID, list[bytes]]:
    dataset = read_dicom(path, force=True, specific_tags=["PixelData", "NumberOfFrames", "BitsAllocated"])
    if not dataset.get("PixelData"):
        raise NotUsableError("the instance has no pixel data")
    count = int(dataset.get("NumberOfFrames") or 1)
    for number in frame_numbers:
        if not 1 <= number <= count:
            raise IndexError(f"frame {number} was asked for; the instance has frames 1 to {count}")
    transfer_syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID", "")) or "1.2.840.10008.1.2")
    if transfer_syntax.is_compressed:
        frames = list(generate_pixel_data_frame(dataset.PixelData, count))
        return transfer_syntax, [frames[number - 1] for number in frame_numbers]
    pixels = dataset.PixelData
    if transfer_syntax == ExplicitVRBigEndian and dataset.BitsAllocated == 16:
        pixels = np.frombuffer(pixels, ">u2").astype("<u2").tobytes()
    length = len(pixels) // count
    frames = [pixels[(number - 1) * length : number * length] for number in frame_numbers]
    return ExplicitVRLittleEndian, frames


def pixel_digest(path: Path) -> str:
    """A checksum of the pixels of a file and of what they mean, but not of its UIDs; its own where it has none."""
    try:
        dataset = read_dicom(path, force=True, specific_tags=["PixelData", *_PIXEL_MEANING])
        meaning = [str(dataset.get(keyword)) for keyword in _PIXEL_MEANING]
        return hashlib.sha256("|".join(meaning).encode() + dataset.PixelData).hexdigest()
    except Exception:  # no pixels, or damaged in one of pydicom's many ways: it is a copy of nothing
        return str(path)


def read_dicom(source: Path | bytes, **options: Any) -> Dataset:
    """pydicom's ``dcmread`` of a file or its content, after a look at how much a deflated one (PS3.5 A.5) inflates to.

    Raises:
        NotUsableError: It inflates to more than is taken into memory.
    """
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
        _check_inflated(file)
        return dcmread(file, **options)


def _check_inflated(file: BinaryIO) -> None:
    """Refuse a deflated file that is small until it is read; leaves the file at its start."""
    if file.read(132)[128:] != b"DICM":
        file.seek(0)
    try:
        meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
        deflated = meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    except Exception:  # it is no DICOM file, or damaged: dcmread says how
        deflated = False
    if deflated:
        inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while size <= _MOST_INFLATED and not inflater.eof:
            packed = inflater.unconsumed_tail or file.read(_CHUNK)
            if not packed:
                break
            size += len(inflater.decompress(packed, _CHUNK))
        if size > _MOST_INFLATED:
            raise NotUsableError(f"its deflated content is larger than {_MOST_INFLATED >> 20} MiB when inflated")
    file.seek(0)


def _read(path: Path, specific_tags: list[str] | None = None) -> tuple[Dataset, int]:
    """Read a header, and say at which byte it ends; files without preamble are taken if group 0002 or 0008 is first."""
    with path.open("rb") as file:
        start = file.read(132)
        file.seek(0)
        _check_inflated(file)
        bare = start[128:132] != b"DICM" and start[:2] in (b"\x08\x00", b"\x02\x00")
        dataset = dcmread(file, stop_before_pixels=True, specific_tags=specific_tags, force=bare)
        return dataset, file.tell()


def _check_length(dataset: Dataset, transfer_syntax: str, available: int) -> None:
    """Refuse an image whose file ends before its pixels do, or is too small for what it claims."""
    if "Rows" not in dataset or "Columns" not in dataset:
        return
    expected = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("BitsAllocated") or 16) // 8
    expected *= int(dataset.get("SamplesPerPixel") or 1) * int(dataset.get("NumberOfFrames") or 1)
    uid = UID(transfer_syntax)
    if uid.is_compressed or uid.is_deflated:
        if expected > max(_SMALL_IMAGE, _MOST_RATIO * available):
            raise NotUsableError(f"it claims {expected} bytes of pixels, more than a file of its size can hold")
    elif available < expected:
        raise NotUsableError(f"truncated: {available} of {expected} bytes of its pixels are there")
