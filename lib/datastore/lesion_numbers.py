"""Numbers and tracking UIDs of the lesions of a label, which they keep over the submissions of an image.

A lesion of a new label has the number of that lesion of the former label which it shares most voxels with; each number
is given once. Where a lesion was divided, the part that shares most keeps the number. Where two were joined, the number
of the one that shares most stays, and the other is not given again. New lesions have new numbers, the largest first.
``lib/viewer/panel/lesion_numbers.js`` applies the same rule in the browser; both are tested against
``tests/fixtures/lesion_numbers.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.uid import UID, generate_uid

from lib.datastore.label_clicks import is_voxel
from lib.datastore.label_record import LabelRecord
from lib.geometry.connected_components import connected_components


@dataclass(frozen=True)
class NumberedLesion:
    """A lesion of a label.

    Attributes:
        voxel: Column, row and slice of its first voxel.
        number: From 1.
        uid: Its tracking UID.
    """

    voxel: tuple[int, int, int]
    number: int
    uid: str

    def to_json(self) -> dict[str, Any]:
        """Return the lesion as values for JSON."""
        return {"voxel": [*self.voxel], "number": self.number, "uid": self.uid}


@dataclass(frozen=True)
class FormerLesions:
    """The lesions of the former label of an image.

    Attributes:
        numbers: (slice, row, column): number of the lesion of each voxel, 0 in none.
        uids: Tracking UID of each number.
        last: The highest number given so far.
    """

    numbers: np.ndarray
    uids: Mapping[int, str]
    last: int


def lesions_of_record(record: LabelRecord, mask: np.ndarray, labels: Mapping[str, int]) -> list[NumberedLesion]:
    """Return the lesions of a stored label, by number.

    A label from before lesions were tracked has them by size, with the UIDs that its exports had then.

    Args:
        record: The record of the label.
        mask: Its voxels (slice, row, column).
        labels: Label values by name.
    """
    return _stored_lesions(record, mask, labels, *lesion_components(mask, labels))


def former_lesions(record: LabelRecord, mask: np.ndarray, labels: Mapping[str, int]) -> FormerLesions:
    """Return the lesions of a label, to number those of the next one after them."""
    components, count = lesion_components(mask, labels)
    lesions = _stored_lesions(record, mask, labels, components, count)
    given = np.zeros(count + 1, np.int32)
    for one in lesions:
        given[_component_at(components, one.voxel)] = one.number
    given[0] = 0
    return FormerLesions(
        given[components], {one.number: one.uid for one in lesions}, max((one.number for one in lesions), default=0)
    )


def number_lesions(
    mask: np.ndarray, labels: Mapping[str, int], former: FormerLesions | None = None
) -> list[NumberedLesion]:
    """Return the lesions of a new label, by number.

    Args:
        mask: The new label (slice, row, column).
        labels: Label values by name.
        former: Lesions of the former label; None if there was none.
    """
    components, count = lesion_components(mask, labels)
    kept = _matched(former.numbers, components) if former and former.numbers.shape == mask.shape else {}
    last = former.last if former else 0
    new = [component for component in _largest_first(components, count) if component not in kept]
    given = {**kept, **{component: last + place for place, component in enumerate(new, 1)}}
    uids = former.uids if former else {}
    voxels = _first_voxels(components, count)
    found = [
        NumberedLesion(voxels[component - 1], number, uids[number] if component in kept else generate_uid(prefix=None))
        for component, number in given.items()
    ]
    return sorted(found, key=lambda one: one.number)


def lesion_components(mask: np.ndarray, labels: Mapping[str, int]) -> tuple[np.ndarray, int]:
    """Return the number of the component of each voxel of a mask, 0 in none, and their count; labels do not mix."""
    components, count = np.zeros(mask.shape, np.int32), 0
    for value in labels.values():
        of_label, found = connected_components(mask == value)
        components[of_label > 0] = of_label[of_label > 0] + count
        count += found
    return components, count


def _matched(former: np.ndarray, components: np.ndarray) -> dict[int, int]:
    """Return the former number of each component that keeps one."""
    both = (former > 0) & (components > 0)
    pairs, shared = np.unique(np.stack([former[both], components[both]]), axis=1, return_counts=True)
    found: dict[int, int] = {}
    ordered = sorted(zip(pairs.T.tolist(), shared.tolist(), strict=True), key=lambda one: (-one[1], one[0]))
    taken: set[int] = set()
    for (number, component), _ in ordered:
        if component not in found and number not in taken:
            found[component] = number
            taken.add(number)
    return found


def _stored_lesions(
    record: LabelRecord, mask: np.ndarray, labels: Mapping[str, int], components: np.ndarray, count: int
) -> list[NumberedLesion]:
    stored = _from_json(record.info.get("lesion_numbers"))
    if stored is not None and {_component_at(components, one.voxel) for one in stored} == set(range(1, count + 1)):
        return stored
    return _by_size(mask, labels, components, count, f"{record.image_id}/{record.number}/{record.sha256}")


def _by_size(
    mask: np.ndarray, labels: Mapping[str, int], components: np.ndarray, count: int, identity: str
) -> list[NumberedLesion]:
    voxels, names = _first_voxels(components, count), {value: name for name, value in labels.items()}
    found = []
    for number, component in enumerate(_largest_first(components, count), 1):
        voxel = voxels[component - 1]
        what = f"lesion {names[int(mask[voxel[::-1]])]} {number}"
        found.append(NumberedLesion(voxel, number, generate_uid(entropy_srcs=["lunglabel", what, identity])))
    return found


def _largest_first(components: np.ndarray, count: int) -> list[int]:
    sizes = np.bincount(components.ravel(), minlength=count + 1)[1:]
    return (np.argsort(-sizes, kind="stable") + 1).tolist()


def _first_voxels(components: np.ndarray, count: int) -> list[tuple[int, int, int]]:
    """Return column, row and slice of the first voxel of each component."""
    marked = np.flatnonzero(components)
    _, first = np.unique(components.ravel()[marked], return_index=True)
    slices, rows, columns = np.unravel_index(marked[first], components.shape)
    return [(int(x), int(y), int(z)) for x, y, z in zip(columns, rows, slices, strict=True)]


def _component_at(components: np.ndarray, voxel: tuple[int, int, int]) -> int:
    place = voxel[::-1]
    inside = all(index < length for index, length in zip(place, components.shape, strict=True))
    return int(components[place]) if inside else 0


def _from_json(values: object) -> list[NumberedLesion] | None:
    """Return the lesions that `NumberedLesion.to_json` wrote; None if they are in another format."""
    if not isinstance(values, list) or not all(map(_is_numbered, values)):
        return None
    return [NumberedLesion(tuple(one["voxel"]), one["number"], one["uid"]) for one in values]


def _is_numbered(value: object) -> bool:
    if not isinstance(value, dict) or not is_voxel(value.get("voxel")) or type(value.get("number")) is not int:
        return False
    return isinstance(value.get("uid"), str) and UID(value["uid"]).is_valid
