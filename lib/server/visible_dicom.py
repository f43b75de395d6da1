"""DICOM JSON of a DICOMweb response as a user may see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lib.datastore.catalog import SeriesCatalog
from lib.dicomweb import attributes
from lib.dicomweb.matching import first_value, tag_of
from lib.reading.views import View

_DicomJson = dict[str, dict[str, Any]]
_MODALITIES, _SERIES_COUNT, _INSTANCE_COUNT = "00080061", "00201206", "00201208"
_SOP_CLASSES = "00080062"  # of a study
_OF_OTHER_SERIES = (_MODALITIES, _SOP_CLASSES, _SERIES_COUNT, _INSTANCE_COUNT)  # they would tell what is hidden
_OF_PATIENT = "0010"  # the group of the tags
_OF_ANY = ("00080005", "00080056", "00080201", "00081190")  # character set, availability, time zone, address
_OF_STUDY = {*_OF_ANY, *(tag_of(name) for name in attributes.STUDY)}


def visible_items(view: View | None, catalog: SeriesCatalog | None, items: Sequence[_DicomJson]) -> list[_DicomJson]:
    """Return the studies, series and instances of images that the user may see; objects made of labels are none.

    Args:
        view: What the user may see; None for everything.
        catalog: The series of the server; None without a reader study.
        items: Items of a response.
    """
    if view is None:
        return [*items]
    assert catalog is not None, "a server has a catalog"
    shown = {one.uid: one for one in catalog.all() if one.problem is None and view.shows(one.uid)}
    series_of: dict[str, list[Any]] = {}
    for one in shown.values():
        series_of.setdefault(one.study_uid, []).append(one)
    found = []
    for item in items:
        series = first_value(item, "SeriesInstanceUID")
        if series in shown:
            found.append({tag: value for tag, value in item.items() if tag not in _OF_OTHER_SERIES})
        elif not series and (of_study := series_of.get(first_value(item, "StudyInstanceUID"))):
            kept = {tag: value for tag, value in item.items() if tag.startswith(_OF_PATIENT) or tag in _OF_STUDY}
            found.append(kept | _counts(of_study))
    return found


def search_visible(
    view: View | None,
    catalog: SeriesCatalog | None,
    arguments: Mapping[str, Any],
    search: Callable[..., Sequence[_DicomJson]],
) -> list[_DicomJson]:
    """Search for studies, series or instances that a user may see.

    Args:
        view: What the user may see; None for everything.
        catalog: The series of the server; None without a reader study.
        arguments: Return value of :func:`lib.dicomweb.request_parameters.search_arguments`.
        search: Search method of the client.
    """
    if view is None:
        return [*search(**arguments)]
    given = arguments["search_filters"].items()
    filters = {name: value for name, value in given if tag_of(name) not in _OF_OTHER_SERIES}
    found = visible_items(view, catalog, search(fuzzymatching=arguments["fuzzymatching"], search_filters=filters))
    start, limit = arguments["offset"] or 0, arguments["limit"]
    return found[start : start + limit] if limit is not None else found[start:]


def _counts(series: Sequence[Any]) -> _DicomJson:
    """Return the attributes of a study that follow from its visible series."""
    return {
        _MODALITIES: {"vr": "CS", "Value": sorted({one.value("Modality") for one in series})},
        _SERIES_COUNT: {"vr": "IS", "Value": [len(series)]},
        _INSTANCE_COUNT: {"vr": "IS", "Value": [sum(one.instance_count for one in series)]},
    }
