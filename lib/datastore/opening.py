"""One datastore for both: a folder's client and a PACS's have the same methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.pacs_client import pacs_client
from lib.settings import Settings, is_url


def open_datastore(settings: Settings, pacs_filters: dict[str, Any] | None = None) -> SeriesDatastore:
    """Return the datastore of ``settings.studies``; of a folder as its index knows it, nothing is read yet.

    Args:
        settings: Where studies and workspace are.
        pacs_filters: Which series to ask a PACS for.
    """
    if is_url(settings.studies):
        return SeriesDatastore(pacs_client(settings.studies, settings.login), settings, pacs_filters)
    client = FolderClient(Path(settings.studies), settings.segs_dir, settings.cache_dir / "index.sqlite")
    return SeriesDatastore(client, settings)
