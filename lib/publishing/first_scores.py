"""Every label is a test first: how well the model in use did on a scan when it was labelled for the first time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.datastore.label_store import LabelStore
from lib.publishing.shipped_patients import known_among
from lib.publishing.version_files import PRETRAINED

_FINAL = "final"


@dataclass(frozen=True)
class FirstScore:
    """Score of the mask that the first label of an image started from.

    Attributes:
        image_id: SeriesInstanceUID.
        time: When the label was submitted, seconds since 1970.
        dice: Dice of the model's mask and the label, over voxels; 1 if both are empty.
        model_version: Version of the model.
    """

    image_id: str
    time: float
    dice: float
    model_version: str


def first_scores(
    labels: LabelStore, patients: Mapping[str, str], versions: Sequence[Mapping[str, Any]], shipped: set[str]
) -> list[FirstScore]:
    """Return the score of each image whose first label started from a mask of the model, in order of submission.

    Images of patients that this version had been trained on are left out, as are labels drawn without a model.

    Args:
        labels: Store of the labels, each with the voxels that were changed in the model's mask.
        patients: PatientID by image.
        versions: Manifests of the kept versions.
        shipped: Patients that the shipped weights were trained on.
    """
    seen = {version["version"]: shipped | set(version.get("trained_on", [])) for version in versions}
    seen[PRETRAINED] = shipped
    scores = [score for image_id in patients if (score := _first_score(labels, image_id))]
    unseen = [one for one in scores if not known_among([patients[one.image_id]], seen.get(one.model_version, shipped))]
    return sorted(unseen, key=lambda one: one.time)


def _first_score(labels: LabelStore, image_id: str) -> FirstScore | None:
    first = next((record for record in labels.history(image_id) if record.tag == _FINAL and record.sha256), None)
    changes, version = (first.info.get("changes"), first.info.get("model_version")) if first else (None, None)
    if not first or not changes or not version:
        return None
    kept, wrong = 2 * changes["kept"], changes["added"] + changes["removed"]
    return FirstScore(image_id, first.time, kept / (kept + wrong) if kept + wrong else 1.0, version)
