"""Where a mask comes from, as the DICOM objects made of it tell."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydicom.uid import generate_uid

from lib.datastore.label_facts import author_of, changes_of, model_version_of
from lib.datastore.label_record import LabelRecord

RESEARCH_USE = "research use only"


@dataclass(frozen=True)
class Provenance:
    """Of one version of one mask.

    Attributes:
        identity: What no other mask has; all UIDs derive from it, so that the same mask makes the same instance.
        number: Of the label in its history, from 1; 1 for a prediction.
        time: Seconds since 1970.
        algorithm_type: AUTOMATIC, SEMIAUTOMATIC or MANUAL (PS3.3 C.8.20.2).
        model_version: Of the model that it began from; None if there was none.
        author: Who submitted it; None for a prediction.
    """

    identity: str
    number: int
    time: float
    algorithm_type: str
    model_version: str | None = None
    author: str | None = None

    @classmethod
    def of_label(cls, record: LabelRecord) -> Provenance:
        """Of a submitted label."""
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
        """Of a mask that the model has just made."""
        identity = f"{image_id}/{model_version}/{sha256}"
        return cls(identity, 1, time.time(), "AUTOMATIC", model_version)

    @property
    def when(self) -> datetime:
        """Local time, as DICOM has it."""
        return datetime.fromtimestamp(self.time)

    @property
    def seg_series_uid(self) -> str:
        """SeriesInstanceUID of the DICOM SEG: each version of a label is a series of its own."""
        return self.uid("seg series")

    @property
    def seg_uid(self) -> str:
        """SOPInstanceUID of the DICOM SEG."""
        return self.uid("seg")

    @property
    def lesion_seg_series_uid(self) -> str:
        """SeriesInstanceUID of the DICOM SEG with a segment for each lesion."""
        return self.uid("lesion seg series")

    @property
    def lesion_seg_uid(self) -> str:
        """SOPInstanceUID of the DICOM SEG with a segment for each lesion."""
        return self.uid("lesion seg")

    def tracking(self, label: str, number: int) -> tuple[str, str]:
        """Tracking identifier and unique identifier of a lesion, by its number in the table.

        Nobody has said which lesion of another version or another scan is the same, so none shares its UID.
        """
        return f"{label} {number}", self.uid(f"lesion {label} {number}")

    def uid(self, what: str) -> str:
        """A UID of this mask, the same whenever it is asked for."""
        return generate_uid(entropy_srcs=["lunglabel", what, self.identity])


def algorithm_type(info: dict[str, Any]) -> str:
    """How a label was made, from what its record says.

    A prediction that a person submitted as it was stays AUTOMATIC. Where the version is known that it began from,
    but not how many voxels changed, it is SEMIAUTOMATIC: a person had it in hand.
    """
    changes = changes_of(info)
    if not model_version_of(info):
        return "MANUAL"
    return "AUTOMATIC" if changes and not changes.added and not changes.removed else "SEMIAUTOMATIC"
