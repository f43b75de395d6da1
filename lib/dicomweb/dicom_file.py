"""Reading of one DICOM file: header for the index, WADO metadata, and frames."""

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
_MAX_INFLATED_BYTES = 1 << 28  # of a deflated dataset, pixels included: five hundred slices of 512x512
_MAX_COMPRESSION_RATIO = 1032  # of pixels; blank slices compress better, so small images are exempt
_SMALL_IMAGE_BYTES = 64 << 20
_CHUNK = 1 << 20
_AVAILABLE_TRANSFER_SYNTAX_UID = "00083002"
_QUOTED = re.compile(r"""b?(['"]).*?\1|['"].*""")
_MAX_REASON_LENGTH = 120


class NotUsableError(Exception):
    """Raised for a file that cannot be used as a DICOM instance; the message is the reason, for the user."""


def read_index_header(path: Path) -> tuple[Dataset, str]:
    """Read the attributes of a file for the index.

    Args:
        path: Any file.

    Returns:
        The attributes of :mod:`lib.dicomweb.attributes` that the file has, and its transfer syntax UID.

    Raises:
        NotUsableError: The file is not a DICOM instance, or is damaged.
        OSError: The system cannot read the file.
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
    except Exception as error:  # pydicom raises many types on damaged files; one must not stop the scan
        _raise_if_system_error(error)
        raise damaged_file_error(error) from error
    transfer_syntax = text_of(dataset.file_meta, "TransferSyntaxUID") or "1.2.840.10008.1.2"
    media_class = text_of(dataset.file_meta, "MediaStorageSOPClassUID")
    if media_class == MediaStorageDirectoryStorage:
        raise NotUsableError("DICOMDIR, a directory of other files; these are indexed themselves")
    if not text_of(dataset, "SOPClassUID"):
        if text_of(dataset, "Modality") != "CT" or "Rows" not in dataset:
            raise NotUsableError("no SOP Class UID, and not identifiable as a CT image without it")
        dataset.SOPClassUID = media_class or CTImageStorage
    _check_length(dataset, transfer_syntax, size - min(pixels_at, size))
    return dataset, transfer_syntax


def damaged_file_error(error: Exception) -> NotUsableError:
    """Return the exception for a file in which pydicom found an error."""
    return NotUsableError(f"damaged DICOM file ({short_reason(error)})")


def short_reason(error: Exception) -> str:
    """Return an error of pydicom in one short line, without quoted values, which may be names of patients."""
    reason = _QUOTED.sub("…", in_one_line(error))
    return reason if len(reason) <= _MAX_REASON_LENGTH else f"{reason[:_MAX_REASON_LENGTH]}…"


def text_of(dataset: Dataset, keyword: str) -> str:
    """Return the value of an element as text; empty if it is missing or cannot be parsed."""
    try:
        value = dataset.get(keyword)
    except Exception:  # pydicom raises many types on invalid values
        return ""
    return "" if value is None else str(value)


def count_of(dataset: Dataset, keyword: str, default: int) -> int:
    """Return the value of an element as an integer; the default if it is missing or cannot be parsed."""
    try:
        return int(dataset.get(keyword) or default)
    except Exception:  # pydicom raises many types on invalid values
        return default


def check_elements(path: Path) -> None:
    """Refuse a file with an element that claims more bytes than the file has.

    GDCM allocates the claimed size first, up to 4 GiB. The index reads the file up to the pixel data only; the elements
    after it are read with the volume.

    Raises:
        NotUsableError: The file has such an element.
    """
    with path.open("rb") as file:
        _check_inflated_size(file)
        with contextlib.suppress(Exception):  # other damage is left to GDCM
            dcmread(file, force=True, specific_tags=["SOPClassUID"])
        if file.tell() > path.stat().st_size:
            raise NotUsableError("damaged DICOM file: an element claims more bytes than the file has")


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the whole header as DICOM JSON (PS3.18 F) without pixel data.

    Elements that cannot be parsed are omitted; see :func:`lib.dicomweb.dicom_json.to_json`.

    Raises:
        NotUsableError: The header is damaged after the elements that the index has read.
        OSError: The system cannot read the file.
    """
    try:
        dataset = _read(path)[0]
    except NotUsableError:
        raise
    except Exception as error:  # pydicom raises many types on damaged files
        _raise_if_system_error(error)
        raise damaged_file_error(error) from error
    transfer_syntax = text_of(dataset.file_meta, "TransferSyntaxUID") or "1.2.840.10008.1.2"
    return {**to_json(dataset), _AVAILABLE_TRANSFER_SYNTAX_UID: {"vr": "UI", "Value": [transfer_syntax]}}


def _raise_if_system_error(error: Exception) -> None:
    """Raise an I/O error of disk or network again; OSErrors without errno are pydicom's own, for damaged files."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def read_frames(path: Path, frame_numbers: list[int]) -> tuple[UID, list[bytes]]:
    """Read frames as they are stored, uncompressed ones in little endian.

    Args:
        path: A DICOM image.
        frame_numbers: Numbers of the frames, from 1.

    Returns:
        The transfer syntax UID of the returned bytes, and the bytes of each frame.

    Raises:
        IndexError: The image has no such frame.
        NotUsableError: The pixel data is missing or damaged.
        OSError: The system cannot read the file.
    """
    try:
        return _frames(path, frame_numbers)
    except (NotUsableError, LookupError):
        raise
    except Exception as error:  # pydicom raises many types on damaged items and offset tables (PS3.5 A.4)
        _raise_if_system_error(error)
        raise NotUsableError(f"the pixel data of the instance is damaged ({short_reason(error)})") from error


def _frames(path: Path, frame_numbers: list[int]) -> tuple[UID, list[bytes]]:
    dataset = read_dicom(path, force=True, specific_tags=["PixelData", "NumberOfFrames", "BitsAllocated"])
    if not dataset.get("PixelData"):
        raise NotUsableError("the instance has no pixel data")
    count = count_of(dataset, "NumberOfFrames", 1)
    for number in frame_numbers:
        if not 1 <= number <= count:
            raise IndexError(f"frame {number} was requested; the instance has frames 1 to {count}")
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
    """Read a file or its content with pydicom's ``dcmread``, after a size check of deflated data sets (PS3.5 A.5).

    Raises:
        NotUsableError: The inflated data set would be larger than 256 MiB.
    """
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
        _check_inflated_size(file)
        return dcmread(file, **options)


def _check_inflated_size(file: BinaryIO) -> None:
    """Refuse a deflated file whose inflated size is above the limit; seek to the start of the file."""
    if file.read(132)[128:] != b"DICM":
        file.seek(0)
    try:
        meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
        deflated = meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    except Exception:  # not a DICOM file, or damaged: dcmread reports it
        deflated = False
    if deflated:
        inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while size <= _MAX_INFLATED_BYTES and not inflater.eof:
            deflated_chunk = inflater.unconsumed_tail or file.read(_CHUNK)
            if not deflated_chunk:
                break
            size += len(inflater.decompress(deflated_chunk, _CHUNK))
        if size > _MAX_INFLATED_BYTES:
            raise NotUsableError(f"its deflated content is larger than {_MAX_INFLATED_BYTES >> 20} MiB when inflated")
    file.seek(0)


def _read(path: Path, specific_tags: list[str] | None = None) -> tuple[Dataset, int]:
    """Return the header and its end, bytes; a file without preamble must begin with group 0002 or 0008."""
    with path.open("rb") as file:
        start = file.read(132)
        file.seek(0)
        _check_inflated_size(file)
        no_preamble = start[128:132] != b"DICM" and start[:2] in (b"\x08\x00", b"\x02\x00")
        dataset = dcmread(file, stop_before_pixels=True, specific_tags=specific_tags, force=no_preamble)
        return dataset, file.tell()


def _check_length(dataset: Dataset, transfer_syntax: str, available: int) -> None:
    """Refuse an image whose pixel data is truncated, or too small for the claimed size."""
    if "Rows" not in dataset or "Columns" not in dataset:
        return
    expected = (
        count_of(dataset, "Rows", 0) * count_of(dataset, "Columns", 0) * count_of(dataset, "BitsAllocated", 16) // 8
    )
    expected *= count_of(dataset, "SamplesPerPixel", 1) * count_of(dataset, "NumberOfFrames", 1)
    uid = UID(transfer_syntax)
    if uid.is_compressed or uid.is_deflated:
        if expected > max(_SMALL_IMAGE_BYTES, _MAX_COMPRESSION_RATIO * available):
            raise NotUsableError(f"it claims {expected} bytes of pixels, more than a file of its size can hold")
    elif available < expected:
        raise NotUsableError(f"truncated: it has {available} of {expected} bytes of pixels")
