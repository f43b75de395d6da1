"""Creation of the datastore for a folder or a PACS, whose clients have the same interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.pacs_client import pacs_client
from lib.settings import Settings, is_url


def open_datastore(settings: Settings, pacs_filters: dict[str, Any] | None = None) -> SeriesDatastore:
    """Return the datastore of ``settings.studies``; a folder is not scanned, only its existing index is used.

    Args:
        settings: Settings with the studies and the workspace.
        pacs_filters: QIDO-RS filters of the series, for a PACS.
    """
    if is_url(settings.studies):
        return SeriesDatastore(pacs_client(settings.studies, settings.login), settings, pacs_filters)
    client = FolderClient(Path(settings.studies), settings.segs_dir, settings.cache_dir / "index.sqlite")
    return SeriesDatastore(client, settings)
