"""What the index keeps of the header of an instance."""

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
    """Give an instance without UIDs stable ones, made of where it lies and what its header says."""
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


def place_of(instance: dict[str, Any]) -> str | None:
    """Where a slice lies, as a text that is the same for two at one place; None where it does not say."""
    numbers = [value for tag in ("00200032", "00200037") for value in instance.get(tag, {}).get("Value", ())]
    numeric = numbers and all(isinstance(value, (int, float)) for value in numbers)
    return json.dumps([round(value, 4) for value in numbers]) if numeric else None


def series_header(dataset: Dataset) -> str:
    """DICOM JSON of the attributes of study and series, as text."""
    return json_of(dataset, (*attributes.STUDY, *attributes.SERIES))


def json_of(dataset: Dataset, keywords: tuple[str, ...]) -> str:
    """DICOM JSON of those of these attributes that there are, as text."""
    return json.dumps(to_json(dataset, keywords))
