"""Studies of a folder, from the headers of their series."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from lib.dicomweb import attributes
from lib.dicomweb.matching import first_value, tag_of, values_of
from lib.dicomweb.shared_uids import shared_uids

STUDY_TAGS = tuple(tag for keyword in attributes.STUDY if (tag := tag_of(keyword)))
_MODALITIES, _SERIES_COUNT, _INSTANCE_COUNT = "00080061", "00201206", "00201208"
_DERIVED = ("SEG", "RTSTRUCT", "SR", "PR", "KO")  # modalities of objects about the images of a study
_DicomJson = dict[str, dict[str, Any]]


def studies_of(series: Sequence[tuple[_DicomJson, int]]) -> list[_DicomJson]:
    """Return the DICOM JSON of each study (PS3.18 table 10.6.3-3).

    The attributes are those of the images, as far as these have them: programs that write a SEG or RTSTRUCT may give it
    another study date and no study description. Series whose patient is ambiguous do not count.

    Args:
        series: Header and number of instances of each series, those of a study one after the other.
    """
    studies = (_study(list(members)) for _, members in groupby(series, lambda one: _study_uid(one[0])))
    return [study for study in studies if study]


def _study(members: list[tuple[_DicomJson, int]]) -> _DicomJson:
    """Return a study from its series; empty if none of them counts."""
    study: _DicomJson = {}
    hidden = shared_uids(header for header, _ in members)
    for header, count in sorted(members, key=lambda one: first_value(one[0], "Modality") in _DERIVED):
        if not count or first_value(header, "SeriesInstanceUID") in hidden:
            continue
        _fill(study, header)
        modalities = study.setdefault(_MODALITIES, {"vr": "CS", "Value": []})["Value"]
        modalities.extend(one for one in _values(header, "Modality") if one not in modalities)
        add_count(study, _SERIES_COUNT, 1)
        add_count(study, _INSTANCE_COUNT, count)
    return study


def add_count(dataset: _DicomJson, tag: str, count: int) -> None:
    """Add to a number of related series or instances, 0 at first."""
    value = dataset.setdefault(tag, {"vr": "IS", "Value": [0]})
    value["Value"] = [value["Value"][0] + count]


def _fill(study: _DicomJson, header: _DicomJson) -> None:
    for tag in STUDY_TAGS:
        if tag in header and not values_of(study, tag):
            study[tag] = header[tag]


def _values(header: _DicomJson, keyword: str) -> Iterable[str]:
    return values_of(header, tag_of(keyword) or "")


def _study_uid(header: _DicomJson) -> str:
    return first_value(header, "StudyInstanceUID")
