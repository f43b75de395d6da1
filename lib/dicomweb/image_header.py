"""Validation of a NIfTI, NRRD or MetaImage file before its voxels are read.

A malicious header can name any file on the disk as its voxel file, and a kilobyte can claim gigabytes. ITK reads a
truncated NIfTI file without an error, with arbitrary values where voxels are missing.
"""

from __future__ import annotations

import gzip
import math
import mmap
import re
import zlib
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from lib.dicomweb.dicom_file import NotUsableError

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
MOST_UNPACKED = 2 << 30  # bytes of voxels of a compressed file
_MAX_DEFLATE_RATIO = 1032
_HEADER_BYTES = 1 << 20
_CHUNK = 1 << 20
_NIFTI = (".nii", ".nii.gz")
_GZIP, _NRRD = b"\x1f\x8b", b"NRRD"
_NIFTI_SIZES = (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c")  # 348 or 540, either endian
_DATA_FILE = b"ElementDataFile"


def read_image_header(path: Path) -> sitk.ImageFileReader:
    """Return size, spacing (mm), origin (mm), direction and metadata of an image file, without reading its voxels.

    Raises:
        RuntimeError: It cannot be read.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def check_before_reading(path: Path, *, alone: bool) -> Path:
    """Validate an image file, before ITK opens the files that its header names and allocates memory.

    Args:
        path: File with one of ``SUFFIXES``.
        alone: Whether the voxels must be in the same file, and not in another one of the same folder.

    Returns:
        The file with the voxels.

    Raises:
        NotUsableError: The file is not of the format of its name, names a file that is not allowed, claims more voxels
            than the voxel file can hold, or is a truncated or damaged .nii.gz.
    """
    named, compressed = _named_file(path)
    if named is not None and alone:
        raise NotUsableError(
            "its header names another file for the voxels; send a single file with header and voxels "
            "(.nii, .nii.gz, .nrrd or .mha)"
        )
    voxels = path if named is None else _beside(path, named)
    if not voxels.is_file():
        raise NotUsableError(f"the file {voxels.name} with its voxels is missing from the same folder")
    _check_claim(path, voxels.stat().st_size, compressed)
    if compressed and path.name.lower().endswith(_NIFTI):
        _check_gzip(path)
    return voxels


def _named_file(path: Path) -> tuple[bytes | None, bool]:
    """Return the name of the voxel file in the header, None if it is the same file, and whether it is compressed."""
    name = path.name.lower()
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    if name.endswith(".nrrd") and head.startswith(_NRRD):
        return _named_by_nrrd(head)
    if name.endswith((".mha", ".mhd")) and not head.startswith(_NRRD):
        return _named_by_metaimage(path, head)
    if name.endswith(".nii.gz") and head.startswith(_GZIP):
        return None, True
    if name.endswith((".nii", ".nii.gz")) and head.startswith(_NIFTI_SIZES):  # ITK reads an uncompressed .nii.gz
        return None, False
    raise NotUsableError("damaged, or not of the format of its name")


def _named_by_nrrd(head: bytes) -> tuple[bytes | None, bool]:
    end = re.search(rb"\n\r?\n", head)
    if end is None and len(head) == _HEADER_BYTES:
        raise NotUsableError("damaged: its header has no end")
    fields = {}
    for line in re.split(rb"[\r\n]", head[: end.start()] if end else head):
        key, colon, value = line.partition(b":")
        if colon:
            fields[re.sub(rb"[\s_]", b"", key.lower())] = value.strip()
    compressed = fields.get(b"encoding", b"raw").lower() != b"raw"
    return fields.get(b"datafile"), compressed


def _named_by_metaimage(path: Path, head: bytes) -> tuple[bytes | None, bool]:
    with path.open("rb") as file:
        if not head:
            raise NotUsableError("empty file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            place = content.find(_DATA_FILE)
            # MetaIO's parser may treat the first as the text of a comment, so that a second one would take effect.
            if place < 0 or content.find(_DATA_FILE, place + 1) >= 0:
                raise NotUsableError("damaged: a MetaImage must have exactly one ElementDataFile")
            after = place + len(_DATA_FILE)
            line = re.match(rb"\s*[=:][ \t]*([^\r\n]*)", content[after : after + 4096])
    named = line[1].strip() if line else b""
    compressed = re.search(rb"CompressedData\s*[=:]\s*[TtYy1]", head) is not None
    return None if named.upper() == b"LOCAL" else named, compressed


def _beside(path: Path, named: bytes) -> Path:
    name = named.decode(errors="replace")
    if not name or name in (".", "..") or re.search(r"[/\\%\0]|^LIST\b|\s\d+\s", name) or Path(name).name != name:
        raise NotUsableError(
            f"its header names {name[:100]!r} for the voxels; only one file in the same folder is allowed"
        )
    return path.with_name(name)


def _check_claim(path: Path, available: int, compressed: bool) -> None:
    try:
        reader = read_image_header(path)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].replace(f"{path.parent}/", "")
        raise NotUsableError(f"damaged, or not of the format of its name ({reason})") from error
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    bits = re.search(r"(\d+)-bit", kind)
    if bits is None:
        raise NotUsableError(f"an image of {kind}")
    values = math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * (2 if "complex" in kind else 1)
    claimed = values * int(bits[1]) // 8
    stored, offset = _stored_by_nifti(reader) if path.name.lower().endswith(_NIFTI) else (claimed, 0)
    if stored > (available * _MAX_DEFLATE_RATIO if compressed else available - offset):
        raise NotUsableError(f"its header claims {_readable(stored)} of voxels, more than its file can hold")
    if compressed and claimed > MOST_UNPACKED:
        raise NotUsableError(
            f"its header claims {_readable(claimed)} of voxels; a compressed file may have {_readable(MOST_UNPACKED)}"
        )


def _stored_by_nifti(reader: sitk.ImageFileReader) -> tuple[int, int]:
    """Return size and offset of the stored voxels, bytes; ITK reports the type after scaling by slope and intercept."""
    try:
        types: dict[int, np.dtype] = nibabel.nifti1.data_type_codes.dtype  # type: ignore[assignment] # declared Hashable
        width = types[int(reader.GetMetaData("datatype"))].itemsize
        offset = int(float(reader.GetMetaData("vox_offset")))
    except (KeyError, ValueError, OverflowError, RuntimeError) as error:
        raise NotUsableError("its header has no valid NIfTI data type or offset of the voxels") from error
    return math.prod(reader.GetSize()) * width, max(offset, 0)


def _check_gzip(path: Path) -> None:
    """Raise a NotUsableError unless the file can be unpacked to its end, with the checksum that is there."""
    unpacked = 0
    try:
        with gzip.open(path) as file:
            while chunk := file.read(_CHUNK):
                unpacked += len(chunk)
                if unpacked > MOST_UNPACKED:
                    raise NotUsableError(f"a compressed file may have {_readable(MOST_UNPACKED)}, and it has more")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise NotUsableError("truncated or damaged: it cannot be unpacked to its end; copy it again") from error


def _readable(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 1 << 29 else f"{size} bytes"
