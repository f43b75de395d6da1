"""Searches of a PACS by users of a reader study, without what would tell them what is hidden."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from lib.dicomweb import attributes
from lib.dicomweb.matching import tag_of
from lib.dicomweb.request_parameters import search_arguments
from lib.dicomweb.resources import (
    ALL_INSTANCES,
    ALL_SERIES,
    SERIES,
    SERIES_INSTANCES,
    STUDIES,
    STUDY_INSTANCES,
    Resource,
)

_WORDS = ("includefield", "fuzzymatching")
_PAGE = ("limit", "offset")
_SERIES_LEVEL, _INSTANCE_LEVEL = (ALL_SERIES, SERIES), (ALL_INSTANCES, STUDY_INSTANCES, SERIES_INSTANCES)


def visible_query(resource: Resource, query: str) -> str:
    """Return a query string for a PACS with the keys of the searched level and those above it.

    All others are left out: whether a study matches the modality or description of one of its series, or their number,
    would tell that it has hidden ones. Names may be in any case, as some servers take them. Pages are not requested,
    except of studies, because they would tell how many series or instances are hidden; see `visible_page`.

    Args:
        resource: The requested resource.
        query: Query string of the request.
    """
    names = _searched(resource)
    found = {name.lower(): name for name in names} | {str(tag_of(name)).lower(): name for name in names if tag_of(name)}
    given = parse_qsl(query, keep_blank_values=True)
    return urlencode([(found[name.lower()], value) for name, value in given if name.lower() in found])


def visible_page(resource: Resource, query: str, items: Sequence[Any]) -> list[Any]:
    """Return those of the visible items that a request asks for.

    Raises:
        UserError: Limit or offset is not a number.
    """
    if resource is STUDIES:  # the PACS has done it
        return [*items]
    given = {name.lower(): value for name, value in parse_qsl(query)}
    page = search_arguments({name: given[name] for name in _PAGE if name in given})
    start = page["offset"] or 0
    return [*items[start:]] if page["limit"] is None else [*items[start : start + page["limit"]]]


def _searched(resource: Resource) -> tuple[str, ...]:
    """Return the names of the query parameters that are forwarded; of a metadata request, none."""
    if resource is STUDIES:
        return (*_WORDS, *_PAGE, *attributes.STUDY)
    if resource in _SERIES_LEVEL:
        return (*_WORDS, *attributes.STUDY, *attributes.SERIES)
    if resource in _INSTANCE_LEVEL:
        return (*_WORDS, *attributes.STUDY, *attributes.SERIES, *attributes.INSTANCE)
    return ()
