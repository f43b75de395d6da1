"""Header attributes of an instance for the index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.uid import generate_uid

from lib.dicomweb import attributes
from lib.dicomweb.dicom_file import text_of
from lib.dicomweb.dicom_json import to_json


def complete_uids(dataset: Dataset, relative: Path) -> None:
    """Set missing UIDs of an instance to stable ones derived from its path and header."""
    folder = str(relative.parent)
    patient = text_of(dataset, "PatientID")
    study = [folder, patient, text_of(dataset, "StudyDate"), text_of(dataset, "StudyID")]
    series = [*study, text_of(dataset, "SeriesNumber"), text_of(dataset, "SeriesDescription")]
    for keyword, sources in (
        ("StudyInstanceUID", ["study", *study]),
        ("SeriesInstanceUID", ["series", *series]),
        ("SOPInstanceUID", ["instance", str(relative)]),
    ):
        if not text_of(dataset, keyword):
            setattr(dataset, keyword, generate_uid(entropy_srcs=sources))


def position_key(instance: dict[str, Any]) -> str | None:
    """Return a text that is equal for slices with the same position and orientation; None if they are missing."""
    numbers = [value for tag in ("00200032", "00200037") for value in instance.get(tag, {}).get("Value", ())]
    numeric = numbers and all(isinstance(value, (int, float)) for value in numbers)
    return json.dumps([round(value, 4) for value in numbers]) if numeric else None


def series_header(dataset: Dataset) -> str:
    """Return the DICOM JSON of the study and series attributes as text."""
    return json_of(dataset, (*attributes.STUDY, *attributes.SERIES))


def json_of(dataset: Dataset, keywords: tuple[str, ...]) -> str:
    """Return the DICOM JSON of the attributes with these keywords as text."""
    return json.dumps(to_json(dataset, keywords))
