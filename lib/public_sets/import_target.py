"""Datastore that labels are imported into, read-only in a dry run."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from lib.datastore.catalog import Series
from lib.datastore.label_store import LabelRecord, LabelStore
from lib.datastore.opening import open_datastore
from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError
from lib.settings import Settings
from lib.storage.atomic import make_folder

_INDEX = "index.sqlite"


class ImportTarget:
    """Studies and workspace, opened as the server opens them.

    A dry run works on a copy of the index and reads the labels in place; it does not create or change any file of the
    workspace.

    Args:
        studies: Folder of the images.
        workspace: As ``--conf workspace`` of the server; None for its default.
        dry_run: Write nothing.

    Raises:
        UserError: The workspace is inside the studies folder.
    """

    def __init__(self, studies: Path, workspace: str | None, dry_run: bool) -> None:
        self.settings = Settings.from_conf(str(studies), {"workspace": workspace} if workspace else {})
        self.dry_run = dry_run
        self._scratch: str | None = None
        self._labels: LabelStore | None = None
        self._files: dict[Path, str] = {}
        self.datastore: SeriesDatastore

    def __enter__(self) -> ImportTarget:
        settings = self.settings
        if self.dry_run:
            self._scratch = tempfile.mkdtemp(prefix="lunglabel-dry-run-")
            settings = replace(settings, workspace=Path(self._scratch))
            settings.cache_dir.mkdir()
            _copy_index(self.settings.cache_dir, settings.cache_dir)
        make_folder(settings.cache_dir)
        self.datastore = open_datastore(settings)
        if self.settings.labels_dir.is_dir():
            self._labels = LabelStore(self.settings.labels_dir)
        self._files = {image.path: image.uid for image in self.client.images()}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def client(self) -> FolderClient:
        """Client of the studies folder."""
        assert isinstance(self.datastore.client, FolderClient)
        return self.datastore.client

    def scan(self, progress: Callable[[int, int], None]) -> None:
        """Index new files of the folder.

        Args:
            progress: Called with the number of files done and the total.
        """
        self.client.scan(progress)
        self.datastore.refresh()
        self._files = {image.path: image.uid for image in self.client.images()}

    def history(self, image_id: str) -> list[LabelRecord]:
        """Return all labels of an image, oldest first."""
        return self._labels.history(image_id) if self._labels else []

    def series(self, image: str | Path) -> Series:
        """Return the usable series of an image.

        Args:
            image: SeriesInstanceUID, or an image file.

        Raises:
            UserError: There is no usable series; the message has the reason.
        """
        return self.datastore.series(self.find_file(image) if isinstance(image, Path) else image)

    def indexed(self, image: str | Path) -> str | None:
        """Return the image id of an image if it is in the index, without scanning for it."""
        return self._files.get(image) if isinstance(image, Path) else image

    def find_file(self, path: Path) -> str:
        """Return the image id of an image file.

        Raises:
            UserError: The file is not in the index; the message has the reason.
        """
        if path in self._files:
            return self._files[path]
        for other, reason in self.client.index.problems():
            if other == path:
                raise UserError(f"{path.name} cannot be used: {reason}.")
        raise UserError(f"{path.name} is a duplicate: another file of the folder has the same content.")


def _copy_index(source: Path, target: Path) -> None:
    """Copy the index of the images, unless the copy is inconsistent because a server was writing it."""
    for path in source.glob(f"{_INDEX}*"):
        shutil.copyfile(path, target / path.name)
    try:
        with contextlib.closing(sqlite3.connect(target / _INDEX)) as connection:
            whole = connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
    except sqlite3.DatabaseError:
        whole = False
    if not whole:
        for path in target.glob(f"{_INDEX}*"):
            path.unlink()
