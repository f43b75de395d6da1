"""What others have marked on the series of a folder or PACS becomes their initial label, in the background.

Where several objects mark one series, see :mod:`lib.initial_labels.candidates`.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict

import numpy as np
import SimpleITK as sitk
from monailabel.interfaces.datastore import DefaultLabelTag

from lib.datastore.series_datastore import SeriesDatastore
from lib.datastore.volume import write_mask
from lib.exports.provenance import Provenance
from lib.initial_labels.candidates import CANDIDATE, INITIAL, SEVERAL, candidates, settle
from lib.initial_labels.marked_objects import MarkedObjects
from lib.initial_labels.marked_series import Finding, Source, look
from lib.processes.worker import Worker

logger = logging.getLogger(__name__)

_MOST_TRIES = 3  # to fetch an object from a PACS
_FINAL = DefaultLabelTag.FINAL.value


class InitialLabels(Worker):
    """Look for objects that are new, each time it is woken.

    Each becomes a label once, told by its SOPInstanceUID: the initial one, or a candidate where there are others. A
    series with a final label gets none, and what this app made of its own labels is none either. What is wrong with an
    object is noted with its series and costs no other.

    Args:
        datastore: Of the images and labels.
        rules: ``imports`` of ``info.yaml``.
    """

    def __init__(self, datastore: SeriesDatastore, rules: dict) -> None:
        super().__init__("initial labels", failure="Could not look for DICOM SEG and RTSTRUCT", pause=None)
        self._datastore = datastore
        self._rules = rules
        self._objects = MarkedObjects(datastore.client)
        self._done: set[str] = set()
        self._tries: Counter[str] = Counter()
        self._named: dict[str, frozenset[str]] = {}  # which series an object was seen to be about
        self._homeless: dict[str, frozenset[str]] = {}  # the images of its study when an object was about none

    def run_once(self) -> None:
        """Make labels of all that is new, whenever the catalog was refreshed."""
        self.look_now()

    def look_now(self) -> None:
        """Make labels of all that is new."""
        known, images = self._known(), frozenset(self._datastore.list_images())
        of_study = self._images_by_study(images)
        for finding in look(
            self._datastore.client,
            self._datastore.catalog,
            self._rules,
            objects=self._objects,
            skip=lambda source: source.uid in known or self._is_settled(source, images, of_study[source.study_uid]),
            wanted=self._lacks_label,
        ):
            self.check_stopped()
            uid = finding.source.uid
            self._tries[uid] += 1
            if finding.retry and self._tries[uid] < _MOST_TRIES:
                logger.warning("%s It is tried again.", finding.problem)
                continue
            self._named[uid] = finding.named
            if not finding.named:
                self._homeless[uid] = of_study[finding.source.study_uid]
            if finding.mask is not None:
                self._keep(finding)
            elif finding.problem:
                self._done.add(uid)
                for image_id in finding.image_ids:
                    self._datastore.catalog.note(image_id, finding.problem)
                logger.warning("%s %s: %s", finding.source.kind, finding.source.uid, finding.problem)
        for image_id in images:
            slices = self._datastore.series(image_id).instance_count
            if settle(self._datastore.labels, image_id, slices) and self._lacks_label(image_id):
                self._datastore.catalog.note(image_id, SEVERAL)

    def _keep(self, finding: Finding) -> None:
        (image_id,) = finding.image_ids
        mask = finding.mask
        voxels = int(np.count_nonzero(sitk.GetArrayViewFromImage(mask)))
        slices = self._datastore.series(image_id).instance_count
        others = candidates(self._datastore.labels, image_id, slices)
        info = {
            **finding.info,
            "size": mask.GetSize(),
            "voxels": voxels,
            "slices": slices,
            "checksum": finding.checksum,
        }
        tag = CANDIDATE if others else INITIAL
        record = self._datastore.labels.save(image_id, tag, lambda part: write_mask(mask, part, True), info)
        self._done.add(finding.source.uid)
        for warning in finding.info["warnings"]:
            self._datastore.catalog.note(image_id, warning)
        logger.info("Label %d (%s) of %s from %s: %d voxels", record.number, tag, image_id, finding.source.kind, voxels)

    def _lacks_label(self, image_id: str) -> bool:
        labels = self._datastore.labels  # a damaged label is one: nothing takes its place but what a person restores
        return _FINAL not in labels.in_use(image_id) and not labels.damage(image_id, former=False)

    def _is_settled(self, source: Source, images: frozenset[str], of_study: frozenset[str]) -> bool:
        named = self._named.get(source.uid)
        if source.uid in self._done or named is None:
            return source.uid in self._done
        if not named:
            return self._homeless.get(source.uid) == of_study
        return not any(self._lacks_label(image_id) for image_id in named & images)

    def _images_by_study(self, images: frozenset[str]) -> defaultdict[str, frozenset[str]]:
        found: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
        for image_id in images:
            found[self._datastore.series(image_id).study_uid] |= {image_id}
        return found

    def _known(self) -> set[str]:
        """UIDs of objects that are labels already, or were made of one."""
        known = set()
        for image_id in self._datastore.list_images():
            slices = self._datastore.series(image_id).instance_count
            for record in self._datastore.labels.history(image_id):
                source = record.info.get("source")
                made = record.tag in (INITIAL, CANDIDATE) and isinstance(source, dict)
                if made and record.info.get("slices") == slices:
                    known.add(source.get("uid"))
                if record.sha256:
                    made = Provenance.of_label(record)
                    known |= {made.seg_uid, made.uid("rtstruct"), record.dicom_seg.get("sop_instance_uid")}
        return known - {None}
