"""Detection of series whose UIDs are shared by several patients and could be shown as another patient's."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from lib.dicomweb.matching import first_value

# Modalities of objects that mark or describe images; these alone do not make a study one of several patients.
_DERIVED_MODALITIES = ("SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "SR", "PR", "KO", "REG", "DOC", "FID")
_DicomJson = dict[str, dict[str, Any]]


def shared_uids(headers: Iterable[_DicomJson]) -> dict[str, str]:
    """Return the series that must not be used or shown because their patient is ambiguous, with the reason.

    Args:
        headers: DICOM JSON of the study and series attributes of each series of one or more studies.

    Returns:
        Reason by SeriesInstanceUID for: all series of a study with images of several patients; objects that mark images
        (DICOM SEG, reports) with another patient than the images of their study; series whose Series Instance UID is
        used for several patients or studies.
    """
    studies: dict[str, list[_DicomJson]] = defaultdict(list)
    series: dict[str, list[_DicomJson]] = defaultdict(list)
    for header in headers:
        studies[first_value(header, "StudyInstanceUID")].append(header)
        series[first_value(header, "SeriesInstanceUID")].append(header)
    found: dict[str, str] = {}
    for study_uid, members in studies.items():
        found.update(_in_study(study_uid, members))
    for uid, members in series.items():
        patients = sorted({_patient(one) for one in members})
        if len(patients) > 1:
            named = ", ".join(repr(name) if name else "none" for name in patients)
            found[uid] = f"images of several patients share its Series Instance UID: PatientID {named}"
        elif len({first_value(one, "StudyInstanceUID") for one in members}) > 1:
            found[uid] = f"{len(members)} studies share its Series Instance UID, so its study is ambiguous"
    return found


def _in_study(study_uid: str, series: list[_DicomJson]) -> dict[str, str]:
    images = [one for one in series if first_value(one, "Modality") not in _DERIVED_MODALITIES]
    patients = _patient_counts(images or series)
    if len(patients) > 1:
        reason = (
            f"its study has images of several patients, PatientIDs {_format(patients)}, under one Study Instance UID "
            f"({study_uid}): a viewer would show them as one patient's. Give each patient's study a UID of its own"
        )
        return {first_value(one, "SeriesInstanceUID"): reason for one in series}
    if not patients:
        return {}
    (patient,) = patients
    return {
        first_value(one, "SeriesInstanceUID"): f"it has PatientID {name!r}, but belongs to a study of {patient!r}"
        for one in series
        if (name := _patient(one)) and name != patient
    }


def _patient_counts(series: list[_DicomJson]) -> Counter[str]:
    """Return the number of series of each patient; series without PatientID are ignored."""
    return Counter(name for one in series if (name := _patient(one)))


def _patient(series: _DicomJson) -> str:
    return first_value(series, "PatientID").strip()


def _format(patients: Counter[str]) -> str:
    return ", ".join(f"{name!r} ({count} series)" for name, count in sorted(patients.items()))
