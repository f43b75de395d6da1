"""Files with the result of an inference, until they are sent."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from lib.datastore.volume import write_mask
from lib.errors import UserError

_EXTENSIONS = (".nrrd", ".nii.gz", ".nii")


def check_extension(request: Mapping[str, Any]) -> None:
    """Raise a UserError if a request asks for a file format that cannot be written."""
    extension = request.get("result_extension")
    if extension and extension not in _EXTENSIONS:
        raise UserError(f"result_extension must be one of {', '.join(_EXTENSIONS)}, not {extension!r}.")


def write_result(image: sitk.Image, request: dict[str, Any], folder: Path | None) -> Path:
    """Write a mask or map in the format that a request asks for, and return the file.

    Args:
        image: The mask or map.
        request: Its ``result_extension`` (default: .nii.gz) and ``result_compress`` (default: as .nii.gz is).
        folder: Folder for results; None for the system's temporary folder.
    """
    extension = request.get("result_extension") or ".nii.gz"
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(suffix=extension, dir=folder)
    os.close(handle)
    file = Path(name)
    try:
        write_mask(image, file, bool(request.get("result_compress", extension == ".nii.gz")))
    except BaseException:
        file.unlink()
        raise
    return file
