"""What others have marked on the series of a folder or PACS becomes their initial label, in the background."""

from __future__ import annotations

import logging
import threading

import numpy as np
import SimpleITK as sitk
from monailabel.interfaces.datastore import DefaultLabelTag

from lib.datastore.series_datastore import SeriesDatastore
from lib.datastore.volume import write_mask
from lib.exports.provenance import Provenance
from lib.imports.marked_series import Finding, Source, look
from lib.priority import work_in_background

logger = logging.getLogger(__name__)

INITIAL = "initial"
_FINAL = DefaultLabelTag.FINAL.value


class InitialLabels(threading.Thread):
    """Looks for objects that are new, each time it is woken.

    Each becomes a label once, told by its SOPInstanceUID. A series with a final label gets none, and what this app made
    of its own labels is none either. What is wrong with an object is noted with its series and costs no other.

    Args:
        datastore: Of the images and labels.
        rules: ``imports`` of ``info.yaml``.
    """

    def __init__(self, datastore: SeriesDatastore, rules: dict) -> None:
        super().__init__(name="initial labels", daemon=True)
        self._datastore = datastore
        self._rules = rules
        self._wake = threading.Event()
        self._done: set[str] = set()
        self._named: dict[str, frozenset[str]] = {}  # which series an object was seen to be about

    def run(self) -> None:
        """Wait, look, wait again, until the server ends."""
        work_in_background()
        while True:
            self._wake.wait()
            self._wake.clear()
            try:
                self.look_now()
            except Exception as error:  # a PACS that is away, a full disk: the next look may do better
                logger.warning("Could not look for DICOM SEG and RTSTRUCT: %s: %s", type(error).__name__, error)

    def wake(self) -> None:
        """Look soon: the catalog is fresh."""
        self._wake.set()

    def look_now(self) -> None:
        """Make labels of all that is new."""
        known = self._known()
        for finding in look(
            self._datastore.client,
            self._datastore.catalog,
            self._rules,
            skip=lambda source: source.uid in known or self._is_settled(source),
            wanted=self._lacks_label,
        ):
            self._named[finding.source.uid] = finding.named
            if finding.mask is not None:
                self._keep(finding)
            elif finding.problem:
                self._done.add(finding.source.uid)
                for image_id in finding.image_ids:
                    self._datastore.catalog.note(image_id, finding.problem)
                logger.warning("%s %s: %s", finding.source.kind, finding.source.uid, finding.problem)

    def _keep(self, finding: Finding) -> None:
        (image_id,) = finding.image_ids
        mask = finding.mask
        voxels = int(np.count_nonzero(sitk.GetArrayViewFromImage(mask)))
        former = self._datastore.labels.current(image_id).get(INITIAL)
        info = {
            **finding.info,
            "size": mask.GetSize(),
            "voxels": voxels,
            "slices": self._datastore.series(image_id).instance_count,
        }
        record = self._datastore.labels.save(image_id, INITIAL, lambda part: write_mask(mask, part, True), info)
        self._done.add(finding.source.uid)
        if former:
            self._datastore.catalog.note(
                image_id,
                f"several objects mark it; the initial label is that of {finding.source.kind} {finding.source.uid}, "
                "the others are in its history",
            )
        for warning in finding.info["warnings"]:
            self._datastore.catalog.note(image_id, warning)
        logger.info("Initial label %d of %s from %s: %d voxels", record.number, image_id, finding.source.kind, voxels)

    def _lacks_label(self, image_id: str) -> bool:
        return _FINAL not in self._datastore.labels.current(image_id)

    def _is_settled(self, source: Source) -> bool:
        named = self._named.get(source.uid)
        if source.uid in self._done or named is None:
            return source.uid in self._done
        images = named.intersection(self._datastore.list_images())
        return not any(self._lacks_label(image_id) for image_id in images)

    def _known(self) -> set[str]:
        """UIDs of objects that are labels already, or were made of one."""
        known = set()
        for image_id in self._datastore.list_images():
            slices = self._datastore.series(image_id).instance_count
            for record in self._datastore.labels.history(image_id):
                source = record.info.get("source")
                if record.tag == INITIAL and isinstance(source, dict) and record.info.get("slices") == slices:
                    known.add(source.get("uid"))
                if record.sha256:
                    made = Provenance.of_label(record)
                    known |= {made.seg_uid, made.uid("rtstruct"), record.dicom_seg.get("sop_instance_uid")}
        return known - {None}
