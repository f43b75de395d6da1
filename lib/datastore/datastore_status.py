"""Status of a datastore, for ``/info`` and the status page."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from lib.datastore.catalog import SeriesCatalog
from lib.datastore.catalog_watcher import CatalogWatcher
from lib.datastore.label_store import LabelStore
from lib.dicomweb.folder_client import FolderClient

_MAX_UNREACHABLE = 20  # largest number of folders and files in the list


def label_counts(labels: LabelStore) -> dict[str, int]:
    """Return the number of labels in use by tag."""
    return dict(Counter(tag for image_id in labels.labelled_images() for tag in labels.current(image_id)))


def series_counts(catalog: SeriesCatalog) -> dict[str, int]:
    """Return the number of series that are left out, and of those used with a warning."""
    series = catalog.all()
    return {
        "left_out": sum(one.left_out for one in series),
        "with_warnings": sum(one.problem is None and bool(one.warnings) for one in series),
    }


def indexing_status(client: Any, watcher: CatalogWatcher | None) -> dict[str, Any]:
    """Return unreachable files and folders, the progress of indexing, and the last error."""
    status: dict[str, Any] = {}
    if isinstance(client, FolderClient) and (unreachable := client.index.unreachable()):
        shown = unreachable[:_MAX_UNREACHABLE]
        status["unreachable"] = [{"path": str(path), "reason": reason} for path, reason in shown]
        status["error"] = _unreachable_sentence(*unreachable[0], len(unreachable) - 1)
    if watcher:
        status.update(watcher.progress)
        if watcher.error:
            status["error"] = watcher.error
    return status


def _unreachable_sentence(path: Path, reason: str, more: int) -> str:
    others = f", nor can {more} other folders or files" if more else ""
    return f"{path} cannot be reached: {reason}{others}. Its index is kept."
