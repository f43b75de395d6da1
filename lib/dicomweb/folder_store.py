"""STOW-RS storage for a folder of studies: in the workspace, never in the user's folder, each UID once."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID

from lib.dicomweb.folder_index import FolderIndex
from lib.dicomweb.matching import values_of
from lib.dicomweb.stored_objects import StoredObjects
from lib.dicomweb.stow import DOES_NOT_FIT, DUPLICATE, NOT_UNDERSTOOD, NotStoredError, read_uids
from lib.errors import UserError

logger = logging.getLogger(__name__)


class FolderStore:
    """Stores instances below a folder of the workspace and adds them to the index.

    Args:
        index: Index of the user's folder and of the workspace.
        objects: The stored instances and their checksums.
        base_url: URL of the folder, for the Retrieve URL of the response.
    """

    def __init__(self, index: FolderIndex, objects: StoredObjects, base_url: str) -> None:
        self._index = index
        self._objects = objects
        self._base_url = base_url
        self._lock = threading.Lock()

    def store_files(self, parts: Sequence[Path], study_uid: str | None = None) -> Dataset:
        """Store unmodified copies of DICOM files (STOW-RS).

        Args:
            parts: The files.
            study_uid: The study that all instances must belong to; None for any.

        Returns:
            The store response (PS3.18 10.5.3): a Referenced SOP Sequence of the stored instances, and a Failed SOP
            Sequence of the others, with the reason.

        Raises:
            UserError: The only instance is not stored, or none can be read.
        """

        def store(part: Path) -> tuple[Dataset, Path]:
            header = read_uids(part)
            if study_uid not in (None, header.StudyInstanceUID):
                message = (
                    f"Instance {header.SOPInstanceUID} belongs to study {header.StudyInstanceUID}, not to {study_uid}."
                )
                raise NotStoredError(NOT_UNDERSTOOD, message, header)
            return header, self._keep(header, lambda target: shutil.copyfile(part, target))

        response, failures = self._store_each(parts, store)
        unreadable = all(failure.reason == NOT_UNDERSTOOD for failure in failures)
        if failures and not response.get("ReferencedSOPSequence") and (len(parts) == 1 or unreadable):
            raise UserError(str(failures[0]), HTTPStatus.BAD_REQUEST if unreadable else HTTPStatus.CONFLICT)
        return response

    def store_instances(self, datasets: Sequence[Dataset]) -> Dataset:
        """Store datasets created by this app, and return the store response."""

        def store(dataset: Dataset) -> tuple[Dataset, Path]:
            for uid in (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID):
                if not UID(uid).is_valid:
                    raise NotStoredError(NOT_UNDERSTOOD, f"{uid!r} is not a valid DICOM UID.", dataset)
            return dataset, self._keep(dataset, lambda target: dataset.save_as(target, write_like_original=False))

        return self._store_each(datasets, store)[0]

    def _store_each(
        self, sources: Sequence[Any], store: Callable[[Any], tuple[Dataset, Path]]
    ) -> tuple[Dataset, list[NotStoredError]]:
        response, failures = Dataset(), []
        for source in sources:
            try:
                header, _ = store(source)
            except NotStoredError as error:
                logger.warning("An instance is not stored: %s", error)
                failures.append(error)
                _add(response, "FailedSOPSequence", error.header).FailureReason = error.reason
                continue
            _add(response, "ReferencedSOPSequence", header).RetrieveURL = (
                f"{self._base_url}/studies/{header.StudyInstanceUID}"
                f"/series/{header.SeriesInstanceUID}/instances/{header.SOPInstanceUID}"
            )
        return response, failures

    def _keep(self, header: Dataset, write: Callable[[Path], Any]) -> Path:
        path = self._objects.path_of(str(header.StudyInstanceUID), str(header.SOPInstanceUID))
        with self._lock:
            if path.exists() or self._index.has_instance(header.SOPInstanceUID):
                message = f"There is an instance {header.SOPInstanceUID} already; it is not replaced."
                raise NotStoredError(DUPLICATE, message, header)
            others = self._index.instances(header.SeriesInstanceUID)
            classes = {uid for other in others for uid in values_of(other.attributes, "00080016")}
            studies = {other.study_uid for other in others}
            if classes - {header.SOPClassUID} or studies - {header.StudyInstanceUID}:
                message = (
                    f"Series {header.SeriesInstanceUID} has instances of another SOP Class or study; instance "
                    f"{header.SOPInstanceUID} needs a Series Instance UID of its own."
                )
                raise NotStoredError(DOES_NOT_FIT, message, header)
            self._objects.write(path, write)
            try:
                self._index.add([path.resolve()])
            except UserError as error:
                message = (
                    f"Instance {header.SOPInstanceUID} is stored, but not listed yet. The next scan of the folder "
                    f"adds it to the index; do not send it again. {error}"
                )
                raise UserError(message, error.status) from error
        return path


def _add(response: Dataset, sequence: str, header: Dataset) -> Dataset:
    """Append an item to a sequence of a store response, and return the item."""
    item = Dataset()
    item.ReferencedSOPClassUID = header.get("SOPClassUID", "")
    item.ReferencedSOPInstanceUID = header.get("SOPInstanceUID", "")
    if sequence not in response:
        setattr(response, sequence, [])
    response[sequence].value.append(item)
    return item
