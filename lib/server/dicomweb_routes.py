"""DICOMweb routes under ``/proxy/dicom``, for a folder or a PACS."""

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
    """Return the DICOMweb routes for the client of ``datastore``.

    Args:
        datastore: Datastore of the series.
        settings: Settings with the URL of the PACS, and whether it is written to.
        uploads: Folder for the bodies of STOW-RS requests.
    """
    client = datastore.client
    if isinstance(client, FolderClient):
        return folder_router(client, uploads, datastore.catalog, datastore.senders)
    return pacs_router(
        settings.studies,
        uploads,
        writable=settings.info["config"]["export"]["store_in_pacs"],
        login=settings.login,
        hidden=PacsFilter(client, datastore.catalog),
        catalog=datastore.catalog,
        senders=datastore.senders,
    )
