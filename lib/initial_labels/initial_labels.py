"""Background thread that turns DICOM SEG, RTSTRUCT and LIDC-IDRI XML objects into initial labels.

For several objects on one series see :mod:`lib.initial_labels.candidates`.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from monailabel.interfaces.datastore import DefaultLabelTag

from lib.datastore.label_record import INITIAL
from lib.datastore.series_datastore import SeriesDatastore
from lib.datastore.volume import write_mask
from lib.exports.provenance import Provenance
from lib.initial_labels.annotation_labels import AnnotationResult, Source, read_annotations
from lib.initial_labels.annotation_objects import AnnotationObjects
from lib.initial_labels.candidates import AMBIGUOUS, CANDIDATE, candidates, withdraw_ambiguous
from lib.processes.worker import Worker

logger = logging.getLogger(__name__)

_MAX_ATTEMPTS = 3  # to retrieve an object from a PACS
_FINAL = DefaultLabelTag.FINAL.value


@dataclass(frozen=True)
class Refused:
    """An object that became no label.

    Attributes:
        source: Its kind, UID, creator, date, time and description, as far as they could be read.
        reason: Why, as a sentence.
    """

    source: Mapping[str, Any]
    reason: str


class InitialLabels(Worker):
    """Worker that reads new objects each time it is woken.

    Each object, identified by its SOPInstanceUID, becomes a label once: the initial label, or a candidate if there are
    others or the series is labelled already. Objects exported by this app are skipped. A problem with an object is
    noted with its series and does not affect other objects.

    Args:
        datastore: Images and labels.
        rules: ``imports`` of ``info.yaml``.
    """

    def __init__(self, datastore: SeriesDatastore, rules: dict) -> None:
        super().__init__("initial labels", failure="Could not look for DICOM SEG and RTSTRUCT", pause=None)
        self._datastore = datastore
        self._rules = rules
        self._objects = AnnotationObjects(datastore.client)
        self._done: set[str] = set()
        self._attempts: Counter[str] = Counter()
        self._referenced: dict[str, frozenset[str]] = {}  # series that each object refers to
        self._unmatched: dict[str, frozenset[str]] = {}  # images of the study when an object referred to none of them
        self._refused: dict[str, tuple[Refused, ...]] = {}  # by image

    def refused(self, image_id: str) -> tuple[Refused, ...]:
        """Return the objects that refer to an image but became no label of it, with the reasons."""
        return self._refused.get(image_id, ())

    def run_once(self) -> None:
        """Make labels of all new objects."""
        self.read_new_objects()

    def read_new_objects(self) -> None:
        """Make labels of all new objects."""
        known, images = self._known(), frozenset(self._datastore.list_images())
        of_study = self._images_by_study(images)
        for result in read_annotations(
            self._datastore.client,
            self._datastore.catalog,
            self._rules,
            objects=self._objects,
            skip=lambda source: source.uid in known or self._is_settled(source, images, of_study[source.study_uid]),
        ):
            self.check_stopped()
            uid = result.source.uid
            self._attempts[uid] += 1
            if result.retry and self._attempts[uid] < _MAX_ATTEMPTS:
                logger.warning("%s It will be retried.", result.problem)
                continue
            self._referenced[uid] = result.referenced
            if not result.referenced:
                self._unmatched[uid] = of_study[result.source.study_uid]
            if result.mask is not None:
                self._save(result, result.mask)
            elif result.problem:
                self._done.add(uid)
                self._refuse(result, result.problem)
        for image_id in images:
            slices = self._datastore.series(image_id).instance_count
            if withdraw_ambiguous(self._datastore.labels, image_id, slices) and self._lacks_label(image_id):
                self._datastore.catalog.note(image_id, AMBIGUOUS)

    def _refuse(self, result: AnnotationResult, problem: str) -> None:
        refused = Refused(result.info["source"], result.reason or problem)
        for image_id in result.image_ids:
            self._refused[image_id] = (*self.refused(image_id), refused)
            self._datastore.catalog.note(image_id, problem)
        logger.warning("%s", problem)

    def _save(self, result: AnnotationResult, mask: sitk.Image) -> None:
        (image_id,) = result.image_ids
        voxels = int(np.count_nonzero(sitk.GetArrayViewFromImage(mask)))
        slices = self._datastore.series(image_id).instance_count
        others = candidates(self._datastore.labels, image_id, slices)
        sender = self._datastore.senders.of(result.source.uid)
        info = {
            **result.info,
            **({"annotator": sender, "user": sender} if sender else {}),
            "size": mask.GetSize(),
            "voxels": voxels,
            "slices": slices,
            "checksum": result.checksum,
        }
        tag = INITIAL if not others and self._lacks_label(image_id) else CANDIDATE
        record = self._datastore.labels.save(image_id, tag, lambda part: write_mask(mask, part, True), info)
        self._done.add(result.source.uid)
        for warning in result.info["warnings"]:
            self._datastore.catalog.note(image_id, warning)
        logger.info("Label %d (%s) of %s from %s: %d voxels", record.number, tag, image_id, result.source.kind, voxels)

    def _lacks_label(self, image_id: str) -> bool:
        labels = self._datastore.labels  # a damaged label counts: only a label restored by a user replaces it
        return _FINAL not in labels.in_use(image_id) and not labels.damage(image_id, former=False)

    def _is_settled(self, source: Source, images: frozenset[str], of_study: frozenset[str]) -> bool:
        referenced = self._referenced.get(source.uid)
        if source.uid in self._done or referenced is None:
            return source.uid in self._done
        if not referenced:
            return self._unmatched.get(source.uid) == of_study
        return referenced.isdisjoint(images)

    def _images_by_study(self, images: frozenset[str]) -> defaultdict[str, frozenset[str]]:
        found: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
        for image_id in images:
            found[self._datastore.series(image_id).study_uid] |= {image_id}
        return found

    def _known(self) -> set[str]:
        """Return the UIDs of objects that are labels already, or that were exported from one."""
        known: set[Any] = set()
        for image_id in self._datastore.list_images():
            slices = self._datastore.series(image_id).instance_count
            for record in self._datastore.labels.history(image_id):
                source = record.info.get("source")
                if (
                    record.tag in (INITIAL, CANDIDATE)
                    and isinstance(source, dict)
                    and record.info.get("slices") == slices
                ):
                    known.add(source.get("uid"))
                if record.sha256:
                    exported = Provenance.of_label(record)
                    known |= {exported.seg_uid, exported.uid("rtstruct"), record.dicom_seg.get("sop_instance_uid")}
        return known - {None}
