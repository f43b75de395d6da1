"""Origin of a mask, as recorded in the DICOM objects made from it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydicom.uid import UID, generate_uid

from lib.datastore.label_info import author_of, changes_of, model_version_of
from lib.datastore.label_record import LabelRecord

RESEARCH_USE = "research use only"


@dataclass(frozen=True)
class Provenance:
    """Origin of one version of a mask.

    Attributes:
        identity: Unique to the mask; all UIDs are derived from it, so the same mask gives the same instances.
        number: Position of the label in its history, from 1; 1 for a prediction.
        time: Seconds since 1970.
        algorithm_type: AUTOMATIC, SEMIAUTOMATIC or MANUAL (PS3.3 C.8.20.2).
        model_version: Version of the model whose prediction it is based on; None without a model.
        author: User who submitted it; None for a prediction.
    """

    identity: str
    number: int
    time: float
    algorithm_type: str
    model_version: str | None = None
    author: str | None = None

    @classmethod
    def of_label(cls, record: LabelRecord) -> Provenance:
        """Return the provenance of a submitted label."""
        info = record.info
        return cls(
            identity=f"{record.image_id}/{record.number}/{record.sha256}",
            number=record.number,
            time=record.time,
            algorithm_type=algorithm_type(info),
            model_version=model_version_of(info),
            author=author_of(info),
        )

    @classmethod
    def of_prediction(cls, image_id: str, sha256: str, model_version: str) -> Provenance:
        """Return the provenance of a new prediction."""
        identity = f"{image_id}/{model_version}/{sha256}"
        return cls(identity, 1, time.time(), "AUTOMATIC", model_version)

    @property
    def when(self) -> datetime:
        """Local time, as DICOM records it."""
        return datetime.fromtimestamp(self.time)

    @property
    def seg_series_uid(self) -> str:
        """SeriesInstanceUID of the DICOM SEG; each version of a label is a separate series."""
        return self.uid("seg series")

    @property
    def seg_uid(self) -> str:
        """SOPInstanceUID of the DICOM SEG."""
        return self.uid("seg")

    @property
    def lesion_seg_series_uid(self) -> str:
        """SeriesInstanceUID of the DICOM SEG with one segment per lesion."""
        return self.uid("lesion seg series")

    @property
    def lesion_seg_uid(self) -> str:
        """SOPInstanceUID of the DICOM SEG with one segment per lesion."""
        return self.uid("lesion seg")

    def uid(self, what: str) -> UID:
        """Return a UID derived from the mask, the same on every call."""
        return generate_uid(entropy_srcs=["lunglabel", what, self.identity])


def algorithm_type(info: dict[str, Any]) -> str:
    """Return the algorithm type of a label (PS3.3 C.8.20.2) from its record.

    A prediction submitted without changes stays AUTOMATIC. If the model version is known but not the number of changed
    voxels, the label is SEMIAUTOMATIC, since a user may have edited it.
    """
    changes = changes_of(info)
    if not model_version_of(info):
        return "MANUAL"
    return "AUTOMATIC" if changes and not changes.added and not changes.removed else "SEMIAUTOMATIC"
