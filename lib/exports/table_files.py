"""The files of the tables: lesions, cases, and the meaning of their columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from lib.exports.case_table import CASE_COLUMNS, CaseRow, columns_as_csv, csv_of_cases
from lib.exports.formats import ExportFormat
from lib.exports.lesion_table import MeasuredLesion, Row, csv_of_lesions, json_of_lesions, json_parts
from lib.storage.atomic import write_atomically

CASE_IN_LESIONS = ("annotator", "source", "slices", "spacing_x_mm", "spacing_y_mm", "spacing_z_mm")
_NO_LESION: Mapping[str, object] = dict.fromkeys(
    ("patient_id", "study_date", "series_instance_uid", "label_number", "algorithm_type", "model_version"), ""
)


def write_tables(
    folder: Path,
    formats: Collection[ExportFormat],
    tables: Iterable[tuple[Mapping[str, object], Sequence[Row]]],
    cases: Sequence[CaseRow],
) -> None:
    """Write ``lesions.csv``, ``cases.csv`` and ``columns.csv``, or ``lesions.json`` and ``cases.json``, or all.

    Args:
        folder: Folder of the files.
        formats: ``csv``, ``json`` or both; others are ignored.
        tables: As for :func:`lib.exports.lesion_table.as_csv`; columns of the case are added. Each file iterates over
            them again, so that they need not be in memory.
        cases: All cases, with and without lesions.
    """
    of_case = {case.series_instance_uid: case for case in cases}

    def with_cases() -> Iterator[tuple[dict[str, object], Sequence[Row]]]:
        return ((_with_case(about, of_case), lesions) for about, lesions in tables)

    if ExportFormat.csv in formats:
        about, _ = next(with_cases(), ({**_NO_LESION, **dict.fromkeys(CASE_IN_LESIONS, "")}, []))
        columns = [*about, *(field.name for field in fields(MeasuredLesion))]
        _write(folder / "lesions.csv", csv_of_lesions(about, with_cases()))
        _write(folder / "cases.csv", csv_of_cases(cases))
        _write(folder / "columns.csv", [columns_as_csv(columns)])
    if ExportFormat.json in formats:
        _write(folder / "lesions.json", json_of_lesions(with_cases()))
        meanings = {name: " ".join(filter(None, (one.meaning, one.unit))) for name, one in CASE_COLUMNS.items()}
        _write(folder / "cases.json", json_parts({"definitions": meanings}, "cases", map(asdict, cases)))


def _with_case(about: Mapping[str, object], cases: Mapping[str, CaseRow]) -> dict[str, object]:
    case = cases.get(str(about["series_instance_uid"]))
    return {**about, **{name: getattr(case, name, "") for name in CASE_IN_LESIONS}}


def _write(path: Path, parts: Iterable[str]) -> None:
    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8") as file:
            file.writelines(parts)

    write_atomically(path, write)
