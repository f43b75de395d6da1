"""Writing an image file so that a full disk is noticed, and told as such."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import SimpleITK as sitk

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_NIFTI_HEADER = 352  # bytes before the voxels


def write_image(image: sitk.Image, target: Path, compress: bool = False) -> None:
    """Write an image with ITK, all of it or with an error.

    ITK tells a full disk as a ``RuntimeError`` in terms of its own, and for NIfTI not at all: the file is cut off.

    Args:
        image: What is written.
        target: File, its format told by its suffix.
        compress: Whether formats that can be compressed are.

    Raises:
        OSError: The disk has no room, with one of `NO_ROOM`.
        RuntimeError: ITK cannot write it for another reason.
    """
    size = image.GetNumberOfPixels() * image.GetNumberOfComponentsPerPixel() * image.GetSizeOfPixelComponent()
    try:
        sitk.WriteImage(image, str(target), compress, 1)
    except RuntimeError:
        if target.exists():
            os.truncate(target, 0)  # what it took is free again
        check_room(target.parent, size)
        raise
    nifti = target.name.lower().endswith((".nii", ".nii.gz"))
    if nifti and _stored_size(target) != (_NIFTI_HEADER + size) % 2**32:
        os.truncate(target, 0)
        raise OSError(errno.ENOSPC, "No space left on device", str(target))


def check_room(folder: Path, size: int) -> None:
    """Raise an OSError if the disk of a folder does not take a file of so many bytes."""
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, max(size, 1))


def _stored_size(nifti: Path) -> int:
    """Bytes of a NIfTI file before compression, modulo 2**32; for .gz they are its last four bytes (RFC 1952)."""
    if not nifti.name.lower().endswith(".gz"):
        return nifti.stat().st_size % 2**32
    with nifti.open("rb") as file:
        if file.seek(0, os.SEEK_END) < 18:
            return 0
        file.seek(-8, os.SEEK_END)
        return int.from_bytes(file.read()[4:], "little")
