"""Creation of the volume file of a series of a folder or PACS."""

from __future__ import annotations

import tempfile
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests

from lib.datastore.catalog import Series
from lib.datastore.volume import read_file, read_volume, write_volume
from lib.dicomweb.dicom_file import NotUsableError
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.image_header import check_before_reading
from lib.errors import UserError
from lib.storage.atomic import make_folder


def make_volume(series: Series, client: Any, path: Path, temporary_dir: Path) -> None:
    """Write the volume of a series (NRRD, HU, index order column-row-slice) to ``path``.

    Args:
        series: A usable series.
        client: Client of its folder or PACS.
        path: File to write.
        temporary_dir: Folder for the instances retrieved from a PACS.

    Raises:
        UserError: The series is not a volume, or the PACS does not respond.
    """
    try:
        if not isinstance(client, FolderClient):
            _make_from_pacs(series, client, path, temporary_dir)
        elif series.file:
            client.check_readable(series.file)
            check_before_reading(series.file, alone=False)  # the file may have changed since it was indexed
            write_volume(read_file(series.file), path)
        else:
            write_volume(read_volume(client.series_paths(series.study_uid, series.uid)), path)
    except requests.RequestException as error:
        raise pacs_unreachable(client, series.uid, error) from error
    except (ValueError, RuntimeError, NotUsableError) as error:
        raise UserError(
            f"Series {series.uid} cannot be read as a volume: {error}.", HTTPStatus.UNPROCESSABLE_ENTITY
        ) from error


def pacs_unreachable(client: Any, image_id: str, error: Exception) -> UserError:
    """Return the exception to raise if a PACS did not respond to a request for a series."""
    return UserError(
        f"The PACS at {client.base_url} did not respond to the request for series {image_id} "
        f"({type(error).__name__}). Try again when it is running and reachable from this machine.",
        HTTPStatus.SERVICE_UNAVAILABLE,
    )


def _make_from_pacs(series: Series, client: Any, path: Path, temporary_dir: Path) -> None:
    make_folder(temporary_dir)
    with tempfile.TemporaryDirectory(dir=temporary_dir) as folder:
        files = []
        for number, instance in enumerate(client.retrieve_series(series.study_uid, series.uid)):
            files.append(Path(folder) / f"{number}.dcm")
            instance.save_as(files[-1], write_like_original=False)
        write_volume(read_volume(files), path)
