"""The clicks that led to a label, which the viewer sends with it.

As JSON they are a list in the order in which they were set. Each click is ``{"lesion": 1, "kind": "foreground",
"points": [[i, j, k], ...], "model_version": "pretrained"}``: number of the lesion within the label, from 1; kind, as
the parameter of ``POST /infer/lung_tumor_click`` in which it was sent; voxels (column, row, slice) of the image, of
which a click has one, a box two opposite ones and a scribble any number; and the version of the model that answered.
Trainings of that model use the first click on each lesion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FOREGROUND = "foreground"
_KINDS = (_FOREGROUND, "background", "scribble", "box")
_FIELDS = {"lesion", "kind", "points", "model_version"}
_MOST_POINTS = 10_000
_LONGEST_VERSION = 64
_HIGHEST = 2**31  # of a count; JSON has whole numbers that fit into no array


def are_clicks(value: object) -> bool:
    """Return whether a value of a request is a list of clicks, with at most 10,000 points in total."""
    if not isinstance(value, list) or not all(_is_click(click) for click in value):
        return False
    return sum(len(click["points"]) for click in value) <= _MOST_POINTS


def first_clicks(info: Mapping[str, Any]) -> list[list[int]]:
    """Return the voxel of the first click on each lesion, from the information of a label.

    Lesions that a scribble or box was drawn on first have none, nor have clicks that are missing or malformed.
    """
    clicks: Any = info.get("clicks")
    first: dict[int, dict[str, Any]] = {}
    for click in clicks if are_clicks(clicks) else ():
        first.setdefault(click["lesion"], click)
    return [click["points"][0] for click in first.values() if click["kind"] == _FOREGROUND]


def _is_click(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() != _FIELDS or value["kind"] not in _KINDS:
        return False
    version, points = value["model_version"], value["points"]
    if not isinstance(version, str) or len(version) > _LONGEST_VERSION:
        return False
    if not _is_count(value["lesion"]) or value["lesion"] < 1:
        return False
    return isinstance(points, list) and len(points) > 0 and all(is_voxel(point) for point in points)


def is_voxel(value: object) -> bool:
    """Return whether a value of a request is column, row and slice of a voxel."""
    return isinstance(value, list) and len(value) == 3 and all(_is_count(number) for number in value)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < _HIGHEST
