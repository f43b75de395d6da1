"""Agreement of the readers of a study, from the labels of the workspace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lib.datastore.label_lesions import REJECTED, remarks_of
from lib.datastore.label_reading import is_reading
from lib.datastore.label_record import LabelRecord
from lib.errors import UserError
from lib.evaluation.lesion_agreement import LesionAgreement, RatedVoxel, TimedVoxel, agreement_on_lesions
from lib.evaluation.reader_agreement import PatientSeconds
from lib.reading.stored_readings import StoredReading, StudyLabels

_RATINGS = {"solid": 5, "part_solid": 3, "ground_glass": 1}  # on the scale of LIDC-IDRI
STUDY = "study"  # name of what the server notes about the study in the info of a label


def agreement_on_case(labels: StudyLabels, readings: Sequence[StoredReading]) -> list[LesionAgreement]:
    """Compare the labels of the readers of one case; none with fewer than two readers.

    Args:
        labels: Labels of the study.
        readings: One reading for each reader, of the same case.

    Raises:
        UserError: The labels are not on the same grid, because the series changed while it was read.
        DamagedFileError: A label is damaged.
    """
    if len(readings) < 2:
        return []
    case = readings[0].reading.case
    masks = {one.reader: labels.mask(one.record) for one in readings}
    if len({mask.shape for mask in masks.values()}) > 1:
        raise UserError(f"The labels of {case} cannot be compared: the series changed while it was read.")
    ratings = {one.reader: _ratings(one.record) for one in readings}
    grid = labels.grid(readings[0].record)
    seconds = {one.reader: _seconds(one.record) for one in readings}
    patient = patient_of(readings[0].record)
    return agreement_on_lesions(case, patient, masks, grid, ratings, seconds)


_CONDITIONS = {"without the model's mask": False, "with the model's mask": True}


def agreement_by_condition(labels: StudyLabels) -> dict[str, list[LesionAgreement]]:
    """Return the agreement on all lesions, without and with the model's mask; a condition of no reading is left out."""
    found: dict[str, list[LesionAgreement]] = {}
    for case in labels.plan.study.cases:
        readings = labels.of_case(case)
        for title, shown in _CONDITIONS.items():
            compared = [one for one in readings if one.reading.model_mask == shown]
            found.setdefault(title, []).extend(agreement_on_case(labels, compared))
    return {title: lesions for title, lesions in found.items() if lesions}


def seconds_by_condition(labels: StudyLabels) -> dict[str, list[PatientSeconds]]:
    """Return patient and active time of each reading of which it is known, without and with the model's mask."""
    found: dict[str, list[PatientSeconds]] = {title: [] for title in _CONDITIONS}
    for one in labels.all():
        noted = one.record.info.get("reading")
        if is_reading(noted) and isinstance(noted, dict):
            title = next(title for title, shown in _CONDITIONS.items() if shown == one.reading.model_mask)
            found[title].append((patient_of(one.record), float(noted["active_seconds"])))
    return found


def patient_of(record: LabelRecord) -> str:
    """Return the pseudonym of the patient of a label of a study; the image itself if it is not known."""
    noted = record.info.get(STUDY)
    patient = noted.get("patient") if isinstance(noted, dict) else None
    return patient if isinstance(patient, str) and patient else record.image_id


def patient_numbers(records: Iterable[LabelRecord]) -> dict[str, str]:
    """Return a consecutive number for each patient, by pseudonym: ``P001``."""
    return {patient: f"P{number:03}" for number, patient in enumerate(sorted({*map(patient_of, records)}), start=1)}


def _seconds(record: LabelRecord) -> list[TimedVoxel]:
    return [(one.voxel, one.active_seconds) for one in remarks_of(record.info) if one.active_seconds is not None]


def _ratings(record: LabelRecord) -> list[RatedVoxel]:
    remarks = remarks_of(record.info)
    return [(one.voxel, _RATINGS[one.texture]) for one in remarks if one.texture and one.state != REJECTED]
