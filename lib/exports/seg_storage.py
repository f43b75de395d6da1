"""Background thread that stores a DICOM SEG of each final label in the workspace or the PACS."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests
from monailabel.interfaces.datastore import DefaultLabelTag

from lib.datastore.label_record import LabelRecord
from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.stow import DUPLICATE
from lib.exports.label_exports import LabelExports
from lib.exports.provenance import Provenance
from lib.processes.worker import Worker

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 60
_MAX_RETRY_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Failure:
    """A DICOM SEG that could not be stored.

    Attributes:
        image_id: SeriesInstanceUID of the image.
        number: Number of the label.
        reason: The last error.
        tries: Number of attempts.
        retry_at: Time of the next attempt, seconds since 1970.
    """

    image_id: str
    number: int
    reason: str
    tries: int
    retry_at: float


class SegStorage(Worker):
    """Worker that stores missing objects when woken, and retries failures with exponential backoff up to a day.

    A label is accepted before its object is made, so a failure here never delays or loses a label. Stored objects are
    recorded with the label, which makes a restart idempotent; an object stored just before the process was killed is
    found by its UID. A damaged object is replaced, and the damaged file is set aside.

    Args:
        datastore: Images and labels; its client stores the objects.
        exports: Makes the objects.
        to_pacs: Whether to write to a PACS. For a folder, objects are always stored, in the workspace.
        clock: Returns the time in seconds since 1970.
    """

    def __init__(
        self,
        datastore: SeriesDatastore,
        exports: LabelExports,
        to_pacs: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__("segs", failure="Could not store missing DICOM SEGs", pause=_PAUSE_SECONDS)
        self._wanted = to_pacs or isinstance(datastore.client, FolderClient)
        self._datastore = datastore
        self._exports = exports
        self._clock = clock
        self._failures: dict[tuple[str, int], Failure] = {}

    def start(self) -> None:
        """Start the thread if the storage of DICOM SEGs is enabled."""
        if self._wanted:
            super().start()

    def run_once(self) -> None:
        """Store missing objects."""
        self._adopt()
        self.store_missing()

    def failures(self) -> list[Failure]:
        """Return the objects that could not be stored, ordered by the time of the next attempt."""
        return sorted(self._failures.copy().values(), key=lambda failure: failure.retry_at)

    def store_missing(self) -> None:
        """Store the object of every final label, including former versions, whose object is missing or damaged."""
        labels = self._datastore.labels
        for image_id in self._datastore.get_labeled_images():
            for record in labels.history(image_id):
                final = record.tag == DefaultLabelTag.FINAL.value and record.sha256
                self.check_stopped()
                if not final or not self._is_due(record):
                    continue
                if ("sop_instance_uid" not in record.dicom_seg or self._is_damaged(record)) and not self._try(record):
                    return

    def _is_due(self, record: LabelRecord) -> bool:
        failure = self._failures.get((record.image_id, record.number))
        return failure is None or self._clock() >= failure.retry_at

    def _try(self, record: LabelRecord) -> bool:
        """Store the object of a label or record the failure; return False if the PACS is unreachable."""
        key, reachable = (record.image_id, record.number), True
        try:
            stored = {"sop_instance_uid": self._store(record)}
            self._failures.pop(key, None)
        except Exception as error:  # a PACS may fail in any way: the label is safe, and storing is retried
            reachable = not isinstance(error, (requests.ConnectionError, requests.Timeout))
            stored = {"error": f"{type(error).__name__}: {error}"}
            tries = self._failures[key].tries + 1 if key in self._failures else 1
            wait = min(_PAUSE_SECONDS * 2.0 ** min(tries - 1, 20), _MAX_RETRY_SECONDS)
            self._failures[key] = Failure(*key, stored["error"], tries, self._clock() + wait)
            if stored == record.dicom_seg:
                return reachable
            logger.warning(
                "DICOM SEG of label %d of %s not stored, will retry: %s", record.number, record.image_id, error
            )
        self._datastore.labels.note_dicom_seg(record, stored)
        return reachable

    def _store(self, record: LabelRecord) -> str:
        """Store the object of a label if it is missing or damaged, and return its SOPInstanceUID."""
        series = self._datastore.series(record.image_id)
        client: Any = self._datastore.client
        provenance = Provenance.of_label(record)
        filters = {"SeriesInstanceUID": provenance.seg_series_uid}
        damaged = self._is_damaged(record)
        if damaged or not client.search_for_series(study_instance_uid=series.study_uid, search_filters=filters):
            made = self._exports.dicom_seg(record)
            if damaged:
                place = client.objects.path_of(series.study_uid, provenance.seg_uid)
                client.objects.move_damaged_aside(place)
                client.index.forget([place])
                logger.warning("Replacing the damaged DICOM SEG of label %d of %s", record.number, record.image_id)
            answer = client.store_instances([made])
            refused = [failed.get("FailureReason") for failed in answer.get("FailedSOPSequence") or []]
            if refused and refused[0] != DUPLICATE:
                raise OSError(f"the object was refused with reason {'unknown' if refused[0] is None else refused[0]}")
            logger.info("DICOM SEG of label %d of %s stored", record.number, record.image_id)
        return provenance.seg_uid

    def _is_damaged(self, record: LabelRecord) -> bool:
        """Return whether the object in the workspace is damaged; False for a PACS, which verifies its own data."""
        client, series = self._datastore.client, self._datastore.catalog.get(record.image_id)
        if series is None or not isinstance(client, FolderClient):
            return False
        place = client.objects.path_of(series.study_uid, Provenance.of_label(record).seg_uid)
        return client.objects.damage_of(place) is not None

    def _adopt(self) -> None:
        if isinstance(self._datastore.client, FolderClient) and (count := self._datastore.client.objects.adopt()):
            logger.info("Added checksums to %d DICOM objects of the workspace", count)
