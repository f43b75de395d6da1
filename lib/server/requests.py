"""What comes with a request: its JSON parameters and its uploaded files."""

from __future__ import annotations

import json
import shutil
import uuid
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


def keep_upload(upload: UploadFile, folder: Path) -> Path:
    """Store an uploaded file under a name of our own; of the sender's name only the suffixes are kept.

    Returns:
        Its path. Whoever calls removes it.
    """
    name = Path(upload.filename or "").name.lower()
    suffix = next((s for s in (".nii.gz", ".seg.nrrd") if name.endswith(s)), Path(name).suffix)
    if len(suffix) > 16:
        raise UserError(f"The file name {upload.filename!r} has no suffix that tells what it is.")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{uuid.uuid4().hex}{suffix}"
    with path.open("wb") as file:
        shutil.copyfileobj(upload.file, file)
    return path
