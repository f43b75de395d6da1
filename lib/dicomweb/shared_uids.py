"""Series that share a UID with another patient's: shown together, one would be taken for the other's."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from lib.dicomweb.matching import first_value

# What marks or describes images: alone, it does not make the study of its images one of several patients.
_ABOUT_IMAGES = ("SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "SR", "PR", "KO", "REG", "DOC", "FID")
_DicomJson = dict[str, dict[str, Any]]


def shared_uids(headers: Iterable[_DicomJson]) -> dict[str, str]:
    """Say which series must not be used or shown, since it is not clear whose they are.

    Args:
        headers: DICOM JSON of the study and series attributes of each series, of one study at least.

    Returns:
        By SeriesInstanceUID a sentence without its full stop: all series of a study with images of several patients;
        objects that mark images (DICOM SEG, reports) but name another patient than the images of their study; series
        whose Series Instance UID stands for several patients or in several studies.
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
            found[uid] = f"its Series Instance UID stands in {len(members)} studies, so which is meant is not clear"
    return found


def _in_study(study_uid: str, series: list[_DicomJson]) -> dict[str, str]:
    images = [one for one in series if first_value(one, "Modality") not in _ABOUT_IMAGES]
    owners = _named(images or series)
    if len(owners) > 1:
        reason = (
            f"its study has images of several patients, PatientIDs {_listed(owners)}, under one Study Instance UID "
            f"({study_uid}): a viewer would show them as one patient's. Give each patient's study a UID of its own"
        )
        return {first_value(one, "SeriesInstanceUID"): reason for one in series}
    if not owners:
        return {}
    (owner,) = owners
    return {
        first_value(one, "SeriesInstanceUID"): f"it names PatientID {name!r}, but lies in a study of {owner!r}"
        for one in series
        if (name := _patient(one)) and name != owner
    }


def _named(series: list[_DicomJson]) -> Counter[str]:
    """How many series there are of each patient; those that name none may be anybody's."""
    return Counter(name for one in series if (name := _patient(one)))


def _patient(series: _DicomJson) -> str:
    return first_value(series, "PatientID").strip()


def _listed(patients: Counter[str]) -> str:
    return ", ".join(f"{name!r} ({count} series)" for name, count in sorted(patients.items()))
