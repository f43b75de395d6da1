"""ZIP archive of all labelled images and their labels."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lib.datastore.label_store import LabelStore
from lib.datastore.volume_cache import VolumeCache
from lib.errors import UserError
from lib.storage.atomic import make_folder


def write_archive(
    pairs: Iterable[dict[str, Any]],
    folder: Path,
    *,
    volumes: VolumeCache,
    labels: LabelStore,
    tag: str,
    metadata: Callable[[], dict[str, Any]],
) -> str:
    """Write an archive of images and labels into ``folder`` and return its path; the caller removes it.

    Args:
        pairs: ``image`` (path) and ``image_id`` of each labelled image.
        folder: New or existing folder.
        volumes: Cache of the volumes, which protects each while it is read.
        labels: Store of the labels.
        tag: Tag of the labels.
        metadata: Returns the content of ``metadata.json``.

    Raises:
        UserError: There is no labelled image.
    """
    make_folder(folder)
    handle, name = tempfile.mkstemp(dir=folder, suffix=".zip")
    try:
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w") as archive:
            for pair in pairs:
                with volumes.in_use(Path(pair["image"])):
                    archive.write(pair["image"], f"image/{pair['image_id']}.nrrd")
                content = labels.content(labels.latest(pair["image_id"], tag))
                archive.writestr(f"label/{pair['image_id']}.nii.gz", content)
            if not archive.namelist():
                raise UserError("There is nothing to archive: no image is labelled yet.")
            archive.writestr("metadata.json", json.dumps(metadata(), default=str, indent=2))
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return name
