"""What comes with a request: its JSON parameters and its uploaded files."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import UploadFile

from lib.errors import UserError


def json_object(text: str | None) -> dict[str, Any]:
    """Parse the ``params`` of a form.

    Raises:
        UserError: It is no JSON object.
    """
    try:
        value = json.loads(text or "{}")
    except ValueError as error:
        raise UserError(f"params must be a JSON object; it is no JSON: {error}.") from None
    if not isinstance(value, dict):
        raise UserError(f"params must be a JSON object, not {type(value).__name__}.")
    return value


@contextmanager
def kept_upload(upload: UploadFile, folder: Path) -> Iterator[Path]:
    """An uploaded file on disk for as long as it is needed.

    It gets a name of our own; of the sender's only the suffix is kept.
    """
    name = Path(upload.filename or "").name.lower()
    suffix = next((s for s in (".nii.gz", ".seg.nrrd") if name.endswith(s)), Path(name).suffix)
    if len(suffix) > 16:
        raise UserError(f"The file name {upload.filename!r} has no suffix that tells what it is.")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{uuid.uuid4().hex}{suffix}"
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file)
        yield path
    finally:
        path.unlink(missing_ok=True)
