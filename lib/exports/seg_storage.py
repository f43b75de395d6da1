"""Puts a DICOM SEG of each final label where the viewers find the images, in the background."""

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
_LONGEST_WAIT = 24 * 3600.0


@dataclass(frozen=True)
class Failure:
    """A DICOM SEG that could not be stored.

    Attributes:
        image_id: SeriesInstanceUID of the image.
        number: Of the label.
        reason: What went wrong last.
        tries: How often it was tried.
        retry_at: When it is tried again, seconds of the clock.
    """

    image_id: str
    number: int
    reason: str
    tries: int
    retry_at: float


class SegStorage(Worker):
    """Store what is missing when woken, and tries again what failed, after waits that double up to a day.

    A label is accepted before any of this begins: no failure here delays or loses one. What was stored is noted with
    the label, so that nothing is done twice after a restart; and what a kill left un-noted is found by its UID. One
    that was damaged since is made again; the damaged file is kept aside.

    Args:
        datastore: Of the images and labels; its client stores.
        exports: Makes the objects.
        to_pacs: Whether a PACS is written to. For a folder they are always stored, in the workspace.
        clock: Seconds since 1970.
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
        """Start the thread where DICOM SEGs are stored at all."""
        if self._wanted:
            super().start()

    def run_once(self) -> None:
        """Store what is missing."""
        self._adopt()
        self.store_missing()

    def failures(self) -> list[Failure]:
        """What is not stored, and why, the next to be tried first."""
        return sorted(self._failures.copy().values(), key=lambda failure: failure.retry_at)

    def store_missing(self) -> None:
        """Store the object of every final label that has none, or a damaged one; former versions too, each its own."""
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
        """Store the object of a label, or remember why not; False where the PACS is away, so that all would fail."""
        key, answers = (record.image_id, record.number), True
        try:
            stored = {"sop_instance_uid": self._store(record)}
            self._failures.pop(key, None)
        except Exception as error:  # whatever a PACS answers: the label is safe, and this is tried again
            answers = not isinstance(error, (requests.ConnectionError, requests.Timeout))
            stored = {"error": f"{type(error).__name__}: {error}"}
            tries = self._failures[key].tries + 1 if key in self._failures else 1
            wait = min(_PAUSE_SECONDS * 2.0 ** min(tries - 1, 20), _LONGEST_WAIT)
            self._failures[key] = Failure(*key, stored["error"], tries, self._clock() + wait)
            if stored == record.dicom_seg:
                return answers
            logger.warning(
                "No DICOM SEG of label %d of %s yet, it is tried again: %s", record.number, record.image_id, error
            )
        self._datastore.labels.note_dicom_seg(record, stored)
        return answers

    def _store(self, record: LabelRecord) -> str:
        """Returns the SOPInstanceUID."""
        series = self._datastore.series(record.image_id)
        client: Any = self._datastore.client
        provenance = Provenance.of_label(record)
        filters = {"SeriesInstanceUID": provenance.seg_series_uid}
        damaged = self._is_damaged(record)
        if damaged or not client.search_for_series(study_instance_uid=series.study_uid, search_filters=filters):
            made = self._exports.dicom_seg(record)
            if damaged:
                place = client.objects.path_of(series.study_uid, provenance.seg_uid)
                client.objects.set_aside(place)
                client.index.forget([place])
                logger.warning("The DICOM SEG of label %d of %s is made again", record.number, record.image_id)
            answer = client.store_instances([made])
            refused = [failed.get("FailureReason") for failed in answer.get("FailedSOPSequence") or []]
            if refused and refused[0] != DUPLICATE:
                raise OSError(f"it was refused with reason {'unknown' if refused[0] is None else refused[0]}")
            logger.info("DICOM SEG of label %d of %s stored", record.number, record.image_id)
        return provenance.seg_uid

    def _is_damaged(self, record: LabelRecord) -> bool:
        """Whether the object in the workspace is not what was stored; a PACS looks after its own."""
        client, series = self._datastore.client, self._datastore.catalog.get(record.image_id)
        if series is None or not isinstance(client, FolderClient):
            return False
        place = client.objects.path_of(series.study_uid, Provenance.of_label(record).seg_uid)
        return client.objects.damage_of(place) is not None

    def _adopt(self) -> None:
        if isinstance(self._datastore.client, FolderClient) and (count := self._datastore.client.objects.adopt()):
            logger.info("%d DICOM objects of the workspace had no checksum; they have one now", count)
