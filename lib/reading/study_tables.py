"""Tables of a study: its readings, its lesions, and each two readers compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from lib.datastore.label_lesions import remarks_of
from lib.datastore.label_reading import COUNTS, is_reading
from lib.evaluation.lesion_agreement import LesionAgreement
from lib.reading.stored_readings import StoredReading, StudyLabels
from lib.reading.study_agreement import patient_of

Rows = list[dict[str, Any]]

READING_COLUMNS = (
    "case", "patient", "reader", "session", "model_mask", "label_number", "label_sha256", "first_submitted",
    "submitted", "opened", "active_seconds", "lesion_seconds", "pause_seconds", *COUNTS, "voxels", "volume_mm3",
)  # fmt: skip
LESION_COLUMNS = (
    "condition", "case", "patient", "lesion", "reader", "marked", "active_seconds", "volume_mm3", "diameter_mm",
    "texture", "marked_by", "readers",
)  # fmt: skip
PAIR_COLUMNS = (
    "condition", "case", "patient", "lesion", "first", "second", "dice", "surface_mm", "hausdorff_95_mm",
    "diameter_mm", "texture",
)  # fmt: skip


def reading_rows(labels: StudyLabels, readings: Sequence[StoredReading], patients: Mapping[str, str]) -> Rows:
    """Return a row for each reading; times are UTC, in ISO 8601.

    Args:
        labels: Labels of the study.
        readings: The readings.
        patients: Shown name of each patient, by pseudonym.
    """
    return [_reading_row(labels, one, patients) for one in readings]


def lesion_rows(conditions: Mapping[str, Sequence[LesionAgreement]], patients: Mapping[str, str]) -> Rows:
    """Return a row for each lesion and reader, also for those who did not mark it."""
    return [
        {
            **_lesion(condition, lesion, patients),
            "reader": reader,
            "marked": reader in lesion.volumes_mm3,
            "active_seconds": _rounded(lesion.seconds.get(reader)),
            "volume_mm3": _rounded(lesion.volumes_mm3.get(reader)),
            "marked_by": len(lesion.volumes_mm3),
            "readers": len(lesion.readers),
        }
        for condition, lesions in conditions.items()
        for lesion in lesions
        for reader in lesion.readers
    ]


def pair_rows(conditions: Mapping[str, Sequence[LesionAgreement]], patients: Mapping[str, str]) -> Rows:
    """Return a row for each lesion and each two readers who both marked it."""
    return [
        {
            **_lesion(condition, lesion, patients),
            "first": pair.first,
            "second": pair.second,
            "dice": _rounded(pair.dice),
            "surface_mm": _rounded(pair.surface_mm),
            "hausdorff_95_mm": _rounded(pair.hausdorff_95_mm),
        }
        for condition, lesions in conditions.items()
        for lesion in lesions
        for pair in lesion.pairs
    ]


def _reading_row(labels: StudyLabels, one: StoredReading, patients: Mapping[str, str]) -> dict[str, Any]:
    record, noted = one.record, one.record.info.get("reading")
    timing: Mapping[str, Any] = noted if is_reading(noted) and isinstance(noted, dict) else {}
    voxels = int(labels.mask(record).sum())
    spent = [one.active_seconds for one in remarks_of(record.info) if one.active_seconds is not None]
    return {
        "case": one.reading.case,
        "patient": patients[patient_of(record)],
        "reader": one.reader,
        "session": one.reading.session,
        "model_mask": one.reading.model_mask,
        "label_number": record.number,
        "label_sha256": record.sha256,
        "first_submitted": _iso(one.first_submitted),
        "submitted": _iso(record.time),
        **{name: timing.get(name) for name in ("opened", "active_seconds", "pause_seconds", *COUNTS)},
        "lesion_seconds": _rounded(sum(spent)) if spent else None,
        "voxels": voxels,
        "volume_mm3": _rounded(voxels * labels.grid(record).voxel_mm3),
    }


def _lesion(condition: str, lesion: LesionAgreement, patients: Mapping[str, str]) -> dict[str, Any]:
    return {
        "condition": condition,
        "case": lesion.case,
        "patient": patients[lesion.patient],
        "lesion": lesion.number,
        "diameter_mm": _rounded(lesion.diameter_mm),
        "texture": lesion.texture.value if lesion.texture else None,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
