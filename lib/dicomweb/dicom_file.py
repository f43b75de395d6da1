"""Reading one DICOM file: its header for the index, for WADO metadata, and its frames."""

from __future__ import annotations

import contextlib
import io
import re
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
from lib.dicomweb.dicom_json import to_json
from lib.dicomweb.lenient_numbers import read_leniently
from lib.errors import in_one_line

read_leniently()

_TAGS = [*attributes.STUDY, *attributes.SERIES, *attributes.INSTANCE]
_MOST_INFLATED = 1 << 28  # bytes of a deflated dataset, pixels included: five hundred slices of 512x512
_MOST_RATIO = 1032  # of compressed pixels; blank slices are packed tighter, so small images are not judged by it
_SMALL_IMAGE = 64 << 20  # bytes
_CHUNK = 1 << 20
_AVAILABLE_TRANSFER_SYNTAX_UID = "00083002"
_QUOTED = re.compile(r"""b?(['"]).*?\1|['"].*""")
_LONGEST_REASON = 120


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
    except InvalidDicomError:
        raise NotUsableError("not a DICOM file") from None
    except NotUsableError:
        raise
    except Exception as error:  # pydicom raises many kinds on damaged files; one must not stop the scan
        _check_system(error)
        raise damaged(error) from error
    transfer_syntax = text_of(dataset.file_meta, "TransferSyntaxUID") or "1.2.840.10008.1.2"
    media_class = text_of(dataset.file_meta, "MediaStorageSOPClassUID")
    if media_class == MediaStorageDirectoryStorage:
        raise NotUsableError("DICOMDIR, a table of contents; the files it names are read themselves")
    if not text_of(dataset, "SOPClassUID"):
        if text_of(dataset, "Modality") != "CT" or "Rows" not in dataset:
            raise NotUsableError("no SOP Class UID, and not recognisable as a CT image without it")
        dataset.SOPClassUID = media_class or CTImageStorage
    _check_length(dataset, transfer_syntax, size - min(pixels_at, size))
    return dataset, transfer_syntax


def damaged(error: Exception) -> NotUsableError:
    """What to raise of a file in which pydicom found an error."""
    return NotUsableError(f"damaged DICOM file ({in_few_words(error)})")


def in_few_words(error: Exception) -> str:
    """What pydicom found, without the values that its messages quote: they may be names of patients."""
    reason = _QUOTED.sub("…", in_one_line(error))
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"


def text_of(dataset: Dataset, keyword: str) -> str:
    """The value of an element as text; empty where there is none, or none that can be parsed."""
    try:
        value = dataset.get(keyword)
    except Exception:  # pydicom raises many kinds on values that are none
        return ""
    return "" if value is None else str(value)


def count_of(dataset: Dataset, keyword: str, default: int) -> int:
    """The value of an element as a whole number; the default where there is none, or none that can be parsed."""
    try:
        return int(dataset.get(keyword) or default)
    except Exception:  # pydicom raises many kinds on values that are none
        return default


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

    An element that cannot be parsed is left out; see :func:`lib.dicomweb.dicom_json.to_json`.

    Raises:
        NotUsableError: The file is damaged beyond what the index keeps of it.
    """
    try:
        dataset = _read(path)[0]
    except NotUsableError:
        raise
    except Exception as error:  # pydicom raises many kinds on damaged files
        _check_system(error)
        raise damaged(error) from error
    transfer_syntax = text_of(dataset.file_meta, "TransferSyntaxUID") or "1.2.840.10008.1.2"
    return {**to_json(dataset), _AVAILABLE_TRANSFER_SYNTAX_UID: {"vr": "UI", "Value": [transfer_syntax]}}


def _check_system(error: Exception) -> None:
    """Raise an error that says nothing of the file: the disk or network does not hand it out."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


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
        raise NotUsableError(f"the pixel data of the instance is damaged ({in_few_words(error)})") from error


def _frames(path: Path, frame_numbers: list[int]) -> tuple[UID, list[bytes]]:
    dataset = read_dicom(path, force=True, specific_tags=["PixelData", "NumberOfFrames", "BitsAllocated"])
    if not dataset.get("PixelData"):
        raise NotUsableError("the instance has no pixel data")
    count = count_of(dataset, "NumberOfFrames", 1)
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


def read_dicom(source: Path | bytes, **options: Any) -> Dataset:
    """Return pydicom's ``dcmread`` of a file or its content, after a check of the inflated size (PS3.5 A.5).

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
    expected = (
        count_of(dataset, "Rows", 0) * count_of(dataset, "Columns", 0) * count_of(dataset, "BitsAllocated", 16) // 8
    )
    expected *= count_of(dataset, "SamplesPerPixel", 1) * count_of(dataset, "NumberOfFrames", 1)
    uid = UID(transfer_syntax)
    if uid.is_compressed or uid.is_deflated:
        if expected > max(_SMALL_IMAGE, _MOST_RATIO * available):
            raise NotUsableError(f"it claims {expected} bytes of pixels, more than a file of its size can hold")
    elif available < expected:
        raise NotUsableError(f"truncated: {available} of {expected} bytes of its pixels are there")
