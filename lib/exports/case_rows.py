"""Rows of the table of cases, from the datastore and its labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import requests

from lib.datastore.catalog import Series
from lib.datastore.label_info import author_of, model_version_of
from lib.datastore.label_record import INITIAL, LabelRecord
from lib.datastore.label_review import ReviewState
from lib.datastore.series_datastore import SeriesDatastore
from lib.datastore.series_grid import series_grid
from lib.datastore.skipped_images import Skipped
from lib.dicomweb.folder_client import FolderClient
from lib.exports.case_table import EXCLUDED, IMPORTED, LABELLED, UNLABELLED, CaseRow
from lib.exports.provenance import algorithm_type

_FINAL = "final"


def case_rows(datastore: SeriesDatastore, lesions: Mapping[str, Mapping[str, Any]]) -> Iterator[CaseRow]:
    """Yield a row for each series of the folder or PACS except SEG and RTSTRUCT.

    Args:
        datastore: Images and labels.
        lesions: By image, the columns that sum up the lesions of its final label.
    """
    skipped = datastore.skipped.all()
    for series in datastore.catalog.all():
        if series.problem is None:
            values = _label_columns(datastore, series.uid) | dict(lesions.get(series.uid, {}))
            yield case_row(datastore, series, **values, **_skipped_columns(skipped.get(series.uid)))
        elif series.left_out:
            yield case_row(datastore, series, state=EXCLUDED, problem=series.problem)


def case_row(datastore: SeriesDatastore, series: Series, **values: Any) -> CaseRow:
    """Return the row of a series with what identifies it, its size, and further columns."""
    return CaseRow(
        patient_id=series.value("PatientID"),
        study_date=series.value("StudyDate"),
        study_instance_uid=series.study_uid,
        series_instance_uid=series.uid,
        series_description=series.value("SeriesDescription"),
        source=source_of(datastore, series),
        **(_grid_columns(datastore, series) if series.problem is None else {}),
        **values,
    )


def source_of(datastore: SeriesDatastore, series: Series) -> str:
    """Return where a series is: its folder or file relative to the studies, or its DICOMweb path in a PACS."""
    client = datastore.client
    if not isinstance(client, FolderClient):
        return f"studies/{series.study_uid}/series/{series.uid}"
    if series.file is not None:
        return str(series.file.relative_to(client.root))
    folders = {str(file.path.parent) for file in client.index.instances(series.uid)}
    return os.path.relpath(os.path.commonpath(folders), client.root) if folders else ""


def _label_columns(datastore: SeriesDatastore, image_id: str) -> dict[str, Any]:
    """Return the state of an image, and what is known of the label in use."""
    labels = datastore.labels.in_use(image_id)
    record = labels.get(_FINAL)
    if record is None:
        return {"state": IMPORTED if INITIAL in labels else UNLABELLED}
    damage = datastore.labels.damage_of(record)
    return (
        _record_columns(record)
        | _review_columns(datastore.review_of(image_id))
        | {"state": LABELLED, "problem": damage.problem if damage else ""}
    )


def _record_columns(record: LabelRecord) -> dict[str, Any]:
    return {
        "label_number": record.number,
        "annotator": author_of(record.info) or "",
        "submitted": _local_time(record.time),
        "note": str(record.info.get("note") or ""),
        "algorithm_type": algorithm_type(record.info),
        "model_version": model_version_of(record.info) or "",
    }


def _review_columns(state: ReviewState | None) -> dict[str, str]:
    if state is None:
        return {}
    if state.review is None:
        return {"review": state.state}
    review = state.review
    return {
        "review": state.state,
        "reviewed_by": review.by,
        "reviewed_at": _local_time(review.time),
        "review_note": review.note,
    }


def _skipped_columns(skipped: Skipped | None) -> dict[str, str]:
    if skipped is None:
        return {}
    return {"skipped": skipped["reason"], "skipped_by": skipped["by"], "skipped_at": _local_time(skipped["time"])}


def _grid_columns(datastore: SeriesDatastore, series: Series) -> dict[str, Any]:
    try:
        grid = series_grid(series, datastore.client)
    except requests.RequestException:  # of a PACS; the row is written without its size
        grid = None
    if grid is None:
        return {}
    names = ("columns", "rows", "slices", "spacing_x_mm", "spacing_y_mm", "spacing_z_mm")
    return dict(zip(names, (*grid.size, *(round(length, 4) for length in grid.spacing)), strict=True))


def _local_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
