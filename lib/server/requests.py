"""Content of requests: JSON parameters and uploaded files."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import SimpleITK as sitk
from fastapi import UploadFile

from lib.datastore.volume import read_file, write_volume
from lib.dicomweb.dicom_file import NotUsableError
from lib.dicomweb.image_header import SUFFIXES, check_before_reading
from lib.errors import UserError
from lib.storage.json_values import check_sendable

_SUFFIX = re.compile(r"[a-z0-9._-]{0,16}")


def json_object(text: str | None, name: str = "params") -> dict[str, Any]:
    """Parse the JSON object in the form field ``name``.

    Raises:
        UserError: The text is not a JSON object.
    """
    try:
        value = json.loads(text or "{}")
        check_sendable(value)
    except RecursionError:
        raise UserError(f"{name} must be a JSON object; it is nested too deeply.") from None
    except ValueError as error:
        reason = str(error).encode(errors="replace").decode()
        raise UserError(f"{name} must be a JSON object, but is not valid JSON: {reason}.") from None
    if not isinstance(value, dict):
        raise UserError(f"{name} must be a JSON object, not {type(value).__name__}.")
    return value


@contextmanager
def stored_upload(upload: UploadFile, folder: Path) -> Iterator[Path]:
    """Store an uploaded file on disk within the context, and yield its path.

    The file gets a random name; only the suffix of the client's name is kept.

    Raises:
        UserError: The file name has no valid suffix.
    """
    name = Path(upload.filename or "").name.lower()
    suffix = next((s for s in (".nii.gz", ".seg.nrrd") if name.endswith(s)), Path(name).suffix)
    if not _SUFFIX.fullmatch(suffix):
        raise UserError(f"The file name {(upload.filename or '')[:100]!r} has no suffix that gives the file format.")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{uuid.uuid4().hex}{suffix}"
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file)
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def uploaded_volume(upload: UploadFile, folder: Path) -> Iterator[Path]:
    """Convert an uploaded image to a volume like those of the datastore within the context, and yield its path.

    All later steps read a file that this app wrote, because readers interpret unusual headers differently.

    Raises:
        UserError: The upload is not a three-dimensional image in one file.
    """
    with stored_upload(upload, folder) as sent:
        volume = sent.with_name(f"volume-{sent.stem.partition('.')[0]}.nrrd")
        try:
            write_volume(_read_upload(sent), volume)
            yield volume
        finally:
            volume.unlink(missing_ok=True)


def is_file_below(path: Path, folders: Iterable[Path]) -> bool:
    """Return whether a file exists below one of these folders, after resolving links."""
    try:
        return path.exists() and any(path.resolve().is_relative_to(folder.resolve()) for folder in folders)
    except OSError:  # no file can have such a name, for example one that is too long
        return False


def _read_upload(path: Path) -> sitk.Image:
    if not path.name.endswith(SUFFIXES):
        raise UserError(f"The uploaded file must be {', '.join(SUFFIXES)}, not {path.suffix!r}.")
    try:
        check_before_reading(path, alone=True)
        return read_file(path)
    except (NotUsableError, ValueError) as error:
        raise UserError(f"The uploaded file cannot be read as an image: {error}.") from error
    except RuntimeError as error:
        raise UserError("The uploaded file cannot be read as an image; it is damaged.") from error
