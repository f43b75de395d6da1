"""Export of a study: tables, label files, agreement with figures, and a manifest with the checksum of each file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lib import __version__
from lib.datastore.label_record import LabelRecord
from lib.evaluation.agreement_report import render_agreement
from lib.evaluation.agreement_summary import compare_volumes, summarise_agreement
from lib.evaluation.lesion_agreement import LesionAgreement
from lib.evaluation.reader_agreement import compare_conditions, mean_seconds, summarise_pairs, summarise_readers
from lib.reading.conclusions import ADJUDICATES, CONSENSUS, conclusion_of, is_conclusion_of
from lib.reading.reader_means import affine_of, write_reader_masks
from lib.reading.reading_list import StudyPlan
from lib.reading.row_files import write_rows
from lib.reading.stored_readings import StoredReading, StudyLabels
from lib.reading.study_agreement import agreement_by_condition, patient_numbers, seconds_by_condition
from lib.reading.study_tables import (
    LESION_COLUMNS,
    PAIR_COLUMNS,
    READING_COLUMNS,
    lesion_rows,
    pair_rows,
    reading_rows,
)
from lib.storage.atomic import write_atomically, write_json
from lib.storage.integrity import sha256_of

_FINAL = "final"
MANIFEST = "manifest.json"


def write_agreement(labels: StudyLabels, output: Path) -> dict[str, list[LesionAgreement]]:
    """Write ``agreement.json``, ``agreement.html`` and the tables of lesions and pairs; return the lesions."""
    conditions = agreement_by_condition(labels)
    patients = patient_numbers(one.record for one in labels.all())
    write_rows(output / "lesions", LESION_COLUMNS, lesion_rows(conditions, patients))
    write_rows(output / "pairs", PAIR_COLUMNS, pair_rows(conditions, patients))
    seconds = seconds_by_condition(labels)
    summary: dict[str, Any] = {
        title: {
            "agreement": summarise_agreement(lesions),
            "readers": summarise_readers(lesions),
            "pairs": summarise_pairs(lesions),
            "active_seconds": mean_seconds(seconds.get(title, [])),
            "volumes": compare_volumes(lesions),
        }
        for title, lesions in conditions.items()
    }
    if change := compare_conditions(conditions, seconds):
        summary["change"] = change
    write_json(output / "agreement.json", summary)
    page = render_agreement(
        f"{labels.plan.study.name}: agreement of the readers", _measured_on(labels), conditions, seconds
    )
    _write(output / "agreement.html", page)
    return conditions


def write_study(labels: StudyLabels, study_file: Path, output: Path) -> dict[str, Any]:
    """Write all that a publication of the study needs into a new folder.

    Beside the files of `write_agreement`, it holds ``study.yaml`` as it was given; the table ``readings``;
    ``labels/<case>/reader-<n>-session-<s>.nii.gz``, where n is the place of the reader in the study file;
    ``readers/<case>.nii.gz`` with the readers along the fourth axis, whose mean is a soft target for ``train``;
    ``final/<case>.nii.gz``, the consensus or the decision of a reviewer, if there is one; and ``manifest.json``.

    Args:
        labels: Labels of the study.
        study_file: The study file.
        output: New folder.

    Returns:
        The manifest.

    Raises:
        UserError: The labels of a case cannot be compared.
        DamagedFileError: A label is damaged.
    """
    write_agreement(labels, output)
    readings = [*labels.all()]
    patients = patient_numbers(one.record for one in readings)
    write_rows(output / "readings", READING_COLUMNS, reading_rows(labels, readings, patients))
    copy_content(study_file.read_bytes(), output / "study.yaml")
    final = []
    for case in labels.plan.study.cases:
        of_case = [one for one in readings if one.reading.case == case]
        for one in of_case:
            copy_content(labels.labels.content(one.record), output / "labels" / case / _name(labels, one))
        if compared := [one for one in labels.compared(case) if one in of_case]:
            masks = [labels.mask(one.record) for one in compared]
            write_reader_masks(masks, affine_of(labels, compared[0]), output / "readers" / f"{case}.nii.gz")
        if record := conclusion_of(labels, case):
            copy_content(labels.labels.content(record), output / "final" / f"{case}.nii.gz")
            final.append(_source(record))
    incomplete = [{"case": one.image_id, "label_number": one.number} for one in labels.incomplete()]
    return write_manifest(labels.plan, output, final=final, incomplete=incomplete)


def write_manifest(plan: StudyPlan, output: Path, **more: object) -> dict[str, Any]:
    """Write the manifest of an exported study, with the checksum of each file, and return it.

    Args:
        plan: The study.
        output: Folder with all other files.
        more: Further entries.
    """
    files = sorted(path for path in output.rglob("*") if path.is_file() and path.name != MANIFEST)
    manifest = {
        "study": plan.study.model_dump(),
        "readers_of_cases": plan.readers_of_cases,
        **more,
        "lunglabel": __version__,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "files": {path.relative_to(output).as_posix(): sha256_of(path) for path in files},
    }
    write_json(output / MANIFEST, manifest)
    return manifest


def copy_content(content: bytes, path: Path) -> None:
    """Write a file of an exported study."""
    write_atomically(path, lambda part: part.write_bytes(content))


def changed_files(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Return the files of an exported study that are missing or no longer have their checksum."""
    files: Mapping[str, str] = manifest["files"]
    return [
        name
        for name, checksum in files.items()
        if not (folder / name).is_file() or sha256_of(folder / name) != checksum
    ]


def other_finals(labels: StudyLabels) -> list[LabelRecord]:
    """Return the final labels in use of cases that are no result of the study, as those from before it."""
    finals = (labels.labels.in_use(case).get(_FINAL) for case in labels.plan.study.cases)
    name = labels.plan.study.name
    return [record for record in finals if record is not None and not is_conclusion_of(name, record)]


def _source(record: LabelRecord) -> dict[str, Any]:
    """Return what a final label was made of."""
    made_of = {name: record.info[name] for name in (CONSENSUS, ADJUDICATES) if name in record.info}
    return {"case": record.image_id, "label_number": record.number, **made_of}


def _measured_on(labels: StudyLabels) -> str:
    study = labels.plan.study
    done = len([*labels.all()])
    planned = sum(len(labels.plan.readings(reader)) for reader in study.readers)
    return f"{len(study.readers)} readers, {len(study.cases)} cases; {done} of {planned} readings are submitted."


def _name(labels: StudyLabels, one: StoredReading) -> str:
    return f"reader-{labels.plan.study.readers.index(one.reader) + 1}-session-{one.reading.session}.nii.gz"


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))
