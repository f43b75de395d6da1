"""Image writing that detects a full disk and raises an OSError for it."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import SimpleITK as sitk

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_NIFTI_HEADER = 352  # bytes before the voxels


def write_image(image: sitk.Image, target: Path, compress: bool = False) -> None:
    """Write an image with ITK, completely or with an error.

    On a full disk, ITK raises a ``RuntimeError`` without an errno, and for NIfTI nothing: the file is truncated.

    Args:
        image: Image to write.
        target: Path; the suffix selects the format.
        compress: Whether to compress, in formats that can.

    Raises:
        OSError: The disk is full, with an errno of `NO_ROOM`.
        RuntimeError: ITK cannot write the file for another reason.
    """
    size = image.GetNumberOfPixels() * image.GetNumberOfComponentsPerPixel() * image.GetSizeOfPixelComponent()
    try:
        sitk.WriteImage(image, str(target), compress, 1)
    except RuntimeError:
        if target.exists():
            os.truncate(target, 0)  # free its space before checking for room
        check_room(target.parent, size)
        raise
    nifti = target.name.lower().endswith((".nii", ".nii.gz"))
    if nifti and _stored_size(target) != (_NIFTI_HEADER + size) % 2**32:
        os.truncate(target, 0)
        raise OSError(errno.ENOSPC, "No space left on device", str(target))


def check_room(folder: Path, size: int) -> None:
    """Raise an OSError if a file of ``size`` bytes does not fit on the disk of a folder."""
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, max(size, 1))


def _stored_size(nifti: Path) -> int:
    """Return the uncompressed size of a NIfTI file modulo 2**32; for .gz, its last four bytes (RFC 1952)."""
    if not nifti.name.lower().endswith(".gz"):
        return nifti.stat().st_size % 2**32
    with nifti.open("rb") as file:
        if file.seek(0, os.SEEK_END) < 18:
            return 0
        file.seek(-8, os.SEEK_END)
        return int.from_bytes(file.read()[4:], "little")
