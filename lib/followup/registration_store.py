"""Registrations of pairs of series on disk."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import requests

from lib.datastore.fingerprint import fingerprint_of
from lib.datastore.series_datastore import SeriesDatastore
from lib.datastore.series_volume import pacs_unreachable
from lib.errors import UserError
from lib.followup.registration import Registration, register
from lib.storage.state_file import StateFile

_METHOD = 1  # changes with the algorithm, so that no result of a former one is used


class RegistrationStore:
    """Registrations in one JSON file per pair of series; made again if the images of one of them change.

    Args:
        datastore: Images.
        folder: Folder in the cache.
    """

    def __init__(self, datastore: SeriesDatastore, folder: Path) -> None:
        self._datastore = datastore
        self._folder = folder
        self._lock = threading.Lock()  # one registration at a time

    def known(self, image_id: str, other_id: str) -> Registration | None:
        """Return the registration of an image to another one if it is on disk and up to date; never makes a volume.

        Raises:
            UserError: One of them does not exist any more, or the PACS does not respond.
        """
        return self._file(image_id, other_id, [self._images_of(one) for one in (image_id, other_id)]).read()

    def get(self, image_id: str, other_id: str) -> Registration:
        """Return the registration of an image to another one, and make it if it is not on disk; takes seconds.

        Raises:
            UserError: A volume cannot be made or registered.
        """
        with self._lock, self._datastore.volume_in_use(image_id), self._datastore.volume_in_use(other_id):
            known = self.known(image_id, other_id)
            return known or self._make(image_id, other_id)

    def _make(self, image_id: str, other_id: str) -> Registration:
        images = [self._images_of(one) for one in (image_id, other_id)]
        volumes = [Path(self._datastore.get_image_uri(one)) for one in (image_id, other_id)]
        try:
            made = register(*volumes)
        except RuntimeError as error:  # of ITK
            raise UserError(f"Series {image_id} and {other_id} cannot be registered: {error}.") from error
        content = {"matrix": made.matrix.tolist(), "correlation": made.correlation, "covered": made.covered}
        self._file(image_id, other_id, images).write({"method": _METHOD, "images": images, **content})
        return made

    def _images_of(self, image_id: str) -> str:
        """Return what changes with the images of a series."""
        client = self._datastore.client
        try:
            return fingerprint_of(self._datastore.series(image_id), client)
        except requests.RequestException as error:
            raise pacs_unreachable(client, image_id, error) from error

    def _file(self, image_id: str, other_id: str, images: list[str]) -> StateFile[Registration | None]:
        def parsed(content: Any) -> Registration | None:
            return _parsed(content) if (content["method"], content["images"]) == (_METHOD, images) else None

        return StateFile(self._folder / f"{image_id}_{other_id}.json", parsed, "The two series are registered again.")


def _parsed(content: Any) -> Registration:
    matrix = np.array(content["matrix"], float)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError("its matrix is not one of 4×4 numbers")
    return Registration(matrix, float(content["correlation"]), float(content["covered"]))
