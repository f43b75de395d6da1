"""What the index keeps of the header of an instance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.uid import generate_uid


def complete_uids(dataset: Dataset, relative: Path) -> None:
    """Give an instance without UIDs stable ones, made of where it lies and what its header says."""
    folder = str(relative.parent)
    patient = str(dataset.get("PatientID", ""))
    study = [folder, patient, str(dataset.get("StudyDate", "")), str(dataset.get("StudyID", ""))]
    series = [*study, str(dataset.get("SeriesNumber", "")), str(dataset.get("SeriesDescription", ""))]
    for keyword, sources in (
        ("StudyInstanceUID", ["study", *study]),
        ("SeriesInstanceUID", ["series", *series]),
        ("SOPInstanceUID", ["instance", str(relative)]),
    ):
        if not str(dataset.get(keyword) or ""):
            setattr(dataset, keyword, generate_uid(entropy_srcs=sources))


def place_of(instance: dict[str, Any]) -> str | None:
    """Where a slice lies, as a text that is the same for two at one place; None where it does not say."""
    numbers = [value for tag in ("00200032", "00200037") for value in instance.get(tag, {}).get("Value", ())]
    return json.dumps([round(value, 4) for value in numbers]) if numbers and None not in numbers else None


def header_json(dataset: Dataset, keywords: tuple[str, ...]) -> str:
    """The attributes of these keywords that a header has, as DICOM JSON (PS3.18 F.2)."""
    kept = Dataset()
    for keyword in keywords:
        if keyword in dataset:
            kept[keyword] = dataset[keyword]
    return json.dumps(kept.to_json_dict(suppress_invalid_tags=True))
