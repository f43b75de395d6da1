"""Puts a DICOM SEG of each final label where the viewers find the images, in the background."""

from __future__ import annotations

import logging
import threading
from typing import Any

from monailabel.interfaces.datastore import DefaultLabelTag

from lib.datastore.label_store import LabelRecord
from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.exports.label_exports import LabelExports
from lib.exports.provenance import Provenance
from lib.priority import work_in_background

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 60


class SegStorage(threading.Thread):
    """Stores what is missing when woken, and tries again what failed.

    A label is accepted before any of this begins: no failure here delays or loses one. What was stored is noted with
    the label, so that nothing is done twice after a restart; and what a kill left un-noted is found by its UID.

    Args:
        datastore: Of the images and labels; its client stores.
        exports: Makes the objects.
        to_pacs: Whether a PACS is written to. For a folder they are always stored, in the workspace.
    """

    def __init__(self, datastore: SeriesDatastore, exports: LabelExports, to_pacs: bool) -> None:
        super().__init__(name="segs", daemon=True)
        self._wanted = to_pacs or isinstance(datastore.client, FolderClient)
        self._datastore = datastore
        self._exports = exports
        self._wake = threading.Event()

    def run(self) -> None:
        """Store, pause, look again, until the server ends."""
        work_in_background()
        while self._wanted:
            try:
                self.store_missing()
            except Exception:  # a full disk, say: it may have room at the next look
                logger.exception("Could not look for labels without a DICOM SEG")
            self._wake.wait(_RETRY_SECONDS)
            self._wake.clear()

    def wake(self) -> None:
        """Look now: there is a new label."""
        self._wake.set()

    def store_missing(self) -> None:
        """Store the object of every final label that has none; former versions too, each as an object of its own."""
        labels = self._datastore.labels
        for image_id in self._datastore.get_labeled_images():
            for record in labels.history(image_id):
                final = record.tag == DefaultLabelTag.FINAL.value and record.sha256
                if final and "sop_instance_uid" not in record.dicom_seg:
                    self._try(record)

    def _try(self, record: LabelRecord) -> None:
        try:
            stored = {"sop_instance_uid": self._store(record)}
        except Exception as error:  # whatever a PACS answers: the label is safe, and this is tried again
            stored = {"error": f"{type(error).__name__}: {error}"}
            if stored == record.dicom_seg:
                return
            logger.warning(
                "No DICOM SEG of label %d of %s yet, it is tried again: %s", record.number, record.image_id, error
            )
        self._datastore.labels.note_dicom_seg(record, stored)

    def _store(self, record: LabelRecord) -> str:
        """Returns the SOPInstanceUID."""
        series = self._datastore.series(record.image_id)
        client: Any = self._datastore.client
        provenance = Provenance.of_label(record)
        filters = {"SeriesInstanceUID": provenance.seg_series_uid}
        if not client.search_for_series(study_instance_uid=series.study_uid, search_filters=filters):
            answer = client.store_instances([self._exports.dicom_seg(record)])
            if refused := answer.get("FailedSOPSequence"):
                raise OSError(f"the PACS refused it with reason {refused[0].get('FailureReason', 'unknown')}")
            logger.info("DICOM SEG of label %d of %s stored", record.number, record.image_id)
        return provenance.seg_uid
