"""DICOMweb under ``/proxy/dicom``: of a folder or of a PACS, whichever the datastore has."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter

from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.pacs_filter import PacsFilter
from lib.server.folder_routes import folder_router
from lib.server.pacs_routes import pacs_router
from lib.settings import Settings


def dicomweb_router(datastore: SeriesDatastore, settings: Settings, uploads: Path) -> APIRouter:
    """Return the routes over the client of ``datastore``.

    Args:
        datastore: Of the series.
        settings: Address of the PACS, and whether it is written to.
        uploads: Where the bodies of STOW-RS requests are kept meanwhile.
    """
    client = datastore.client
    if isinstance(client, FolderClient):
        return folder_router(client, uploads)
    return pacs_router(
        settings.studies,
        uploads,
        writable=settings.info["config"]["export"]["store_in_pacs"],
        login=settings.login,
        hidden=PacsFilter(client, datastore.catalog),
    )
