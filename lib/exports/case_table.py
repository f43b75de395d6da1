"""Table of the cases of an export: a row for each series, also for those without findings or without a label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from lib.exports.lesion_table import DEFINITIONS, MeasuredLesion, Row, csv_parts, csv_text

LABELLED, IMPORTED, UNLABELLED, EXCLUDED = "labelled", "imported", "unlabelled", "excluded"
PREDICTED, FAILED = "predicted", "failed"


@dataclass(frozen=True)
class CaseRow:
    """A row of ``cases.csv``; see ``CASE_COLUMNS``. What is not known is None or empty."""

    patient_id: str
    study_date: str
    study_instance_uid: str
    series_instance_uid: str
    series_description: str
    source: str
    state: str
    problem: str = ""
    lesions: int | None = None
    volume_ml: float | None = None
    longest_diameter_mm: float | None = None
    label_number: int | None = None
    annotator: str = ""
    submitted: str = ""
    note: str = ""
    review: str = ""
    reviewed_by: str = ""
    reviewed_at: str = ""
    review_note: str = ""
    algorithm_type: str = ""
    model_version: str = ""
    skipped: str = ""
    skipped_by: str = ""
    skipped_at: str = ""
    columns: int | None = None
    rows: int | None = None
    slices: int | None = None
    spacing_x_mm: float | None = None
    spacing_y_mm: float | None = None
    spacing_z_mm: float | None = None


@dataclass(frozen=True)
class Column:
    """Meaning of a column, with its unit if it has one."""

    meaning: str
    unit: str = ""


CASE_COLUMNS = {
    "patient_id": Column("PatientID (0010,0020); of an image file its path in the folder, without extension"),
    "study_date": Column("Study Date (0008,0020)", "YYYYMMDD"),
    "study_instance_uid": Column("Study Instance UID; of an image file derived from its content"),
    "series_instance_uid": Column("Series Instance UID, the id of the image in this app and the name of its files"),
    "series_description": Column("Series Description (0008,103E); of an image file its name"),
    "source": Column("folder or file relative to the folder of studies; of a PACS, the DICOMweb path of the series"),
    "state": Column(
        "labelled: a person submitted a label; imported: only a label from another program, not reviewed; unlabelled; "
        "excluded: the series cannot be segmented; of `infer`: predicted, failed or excluded"
    ),
    "problem": Column("why the series is excluded, its label damaged or its prediction failed"),
    "lesions": Column("number of lesions of the label, 0 for an empty one; empty without a label"),
    "volume_ml": Column("volume of all lesions", "ml"),
    "longest_diameter_mm": Column("longest axial diameter of any lesion", "mm"),
    "label_number": Column("number of the submission of this image, from 1"),
    "annotator": Column("who submitted the label"),
    "submitted": Column("when the label was submitted, local time with its offset", "ISO 8601"),
    "note": Column("note of the annotator on the case"),
    "review": Column("of this label: approved, sent back, or waiting for review; empty if nobody has to review it"),
    "reviewed_by": Column("who approved the label or sent it back"),
    "reviewed_at": Column("when it was approved or sent back", "ISO 8601"),
    "review_note": Column("note of the reviewer"),
    "algorithm_type": Column("AUTOMATIC, SEMIAUTOMATIC or MANUAL (DICOM PS3.3 C.8.20.2)"),
    "model_version": Column("version of the model whose mask the label started from"),
    "skipped": Column("reason for which the image was put aside"),
    "skipped_by": Column("who put it aside"),
    "skipped_at": Column("when it was put aside", "ISO 8601"),
    "columns": Column("size of the images along x", "pixels"),
    "rows": Column("size of the images along y", "pixels"),
    "slices": Column("number of slices"),
    "spacing_x_mm": Column("distance between columns", "mm"),
    "spacing_y_mm": Column("distance between rows", "mm"),
    "spacing_z_mm": Column("distance between slices, the most common one if they are uneven", "mm"),
}


def size_of_lesions(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the columns of a case that sum up its lesions; what was rejected or measured beside them is none."""
    lesions = [row for row in rows if isinstance(row, MeasuredLesion)]
    return {
        "lesions": len(lesions),
        "volume_ml": round(sum(one.volume_ml for one in lesions), 4),
        "longest_diameter_mm": max((one.longest_diameter_mm for one in lesions), default=None),
    }


def cases_as_csv(cases: Iterable[CaseRow]) -> str:
    """Return the cases as CSV, by patient and series."""
    return "".join(csv_of_cases(cases))


def csv_of_cases(cases: Iterable[CaseRow]) -> Iterator[str]:
    """Yield the parts of what `cases_as_csv` returns."""
    ordered = sorted(cases, key=lambda case: (case.patient_id, case.study_date, case.series_instance_uid))
    return csv_parts([field.name for field in fields(CaseRow)], (asdict(case) for case in ordered))


def columns_as_csv(lesion_columns: Iterable[str]) -> str:
    """Return file, column, unit and meaning of all columns of ``cases.csv`` and ``lesions.csv``.

    Args:
        lesion_columns: Those of ``lesions.csv``, in order.
    """
    rows = [_meaning("cases.csv", name, column) for name, column in CASE_COLUMNS.items()]
    rows += [_meaning("lesions.csv", name, lesion_column(name)) for name in lesion_columns]
    return csv_text(["file", "column", "unit", "meaning"], rows)


def lesion_column(name: str) -> Column:
    """Return the meaning of a column of ``lesions.csv``."""
    unit = next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")
    found = (text for names, text in DEFINITIONS.items() if name in names.split(", "))
    meaning = next(found, None) or _LESION_COLUMNS.get(name)
    return Column(meaning, unit) if meaning else CASE_COLUMNS[name]


_UNITS = {"_mm": "mm", "_mm3": "mm³", "_ml": "ml", "_hu": "HU", "_days": "days", "_percent": "%"}
_LESION_COLUMNS = {
    "label": "name of the label, as in info.yaml",
    "voxels": "number of voxels",
    "volume_mm3": "sum of the voxels' volumes",
    "volume_ml": "the same in ml",
}


def _meaning(file: str, name: str, column: Column) -> dict[str, str]:
    return {"file": file, "column": name, "unit": column.unit, "meaning": column.meaning}
