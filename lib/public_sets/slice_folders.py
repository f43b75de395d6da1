"""Layouts of folders of axial slices with masks: patient, slice number and mask of each file.

Three layouts, and mixtures of them, follow one rule. A mask has a word such as "mask" in its file name or in the
name of a folder, and the rest of the path without such words is the same for a slice and its mask::

    P1/slice_012.png   P1/slice_012_mask.png
    images/P1/012.png  masks/P1/012.png
    P1/images/012.png  P1/masks/012.png

The last number of a file name is the slice number. Without a folder for the patient, the text before the number names
the patient: ``images/P1_012.png``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from lib.errors import UserError

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_MASK_WORDS = frozenset(
    {"mask", "masks", "label", "labels", "seg", "segs", "segmentation", "segmentations", "annotation", "annotations"}
    | {"gt", "groundtruth", "manual"}
)
_IMAGE_WORDS = frozenset(
    {"image", "images", "img", "imgs", "ct", "scan", "scans", "slice", "slices", "dicom", "dcm", "png", "jpg", "jpeg"}
    | {"original", "originals"}
)
_MIN_SLICES = 3

Key = tuple[tuple[str, ...], str]


@dataclass(frozen=True)
class Stack:
    """The slices of one scan.

    Attributes:
        name: Name of the patient, with that of the series if the patient has several.
        slices: Files by slice number, ascending.
        masks: Masks by slice number, for the slices that have one.
    """

    name: str
    slices: Mapping[int, Path]
    masks: Mapping[int, Path]


def find_pictures(source: Path) -> Iterable[Path]:
    """Return all pictures of a folder, without hidden files such as those of macOS."""
    named = (path for path in sorted(source.rglob("*")) if path.suffix.lower() in PICTURES and path.name[0] != ".")
    return (path for path in named if not path.is_dir())


def is_mask(path: Path) -> bool:
    """Return whether the words of a path, relative to the folder of the set, name a mask."""
    return any(not _MASK_WORDS.isdisjoint(_words(part)) for part in (*path.parts[:-1], path.stem))


def key_of(path: Path) -> Key:
    """Return the folders and the name that a slice and its mask share, from a path relative to the set's folder."""
    folders = tuple(word for part in path.parts[:-1] if (word := _rest(part)))
    name = path.name if path.suffix[1:].isdigit() else path.stem  # a DICOM file may be called by its UID alone
    return folders, _rest(name) or name


def find_stacks(source: Path) -> tuple[list[Stack], list[tuple[str, str]]]:
    """Return the stacks of a folder of pictures, and the name and reason of each that cannot be used."""
    images: dict[Key, list[Path]] = defaultdict(list)
    masks: dict[Key, list[Path]] = defaultdict(list)
    for path in find_pictures(source):
        relative = path.relative_to(source)
        (masks if is_mask(relative) else images)[key_of(relative)].append(path)
    failures = []
    stray = [paths[0].relative_to(source) for key, paths in masks.items() if key not in images]
    if stray:
        failures.append(("masks", f"{len(stray)} have no slice of the same name, the first is {stray[0]}"))
    groups: dict[tuple[str, ...], dict[str, list[Key]]] = defaultdict(lambda: defaultdict(list))
    for folders, name in images:
        groups[folders][_prefix(name)].append((folders, name))
    stacks = []
    for folders, by_prefix in groups.items():
        for prefix, keys in by_prefix.items():
            alone = bool(folders) and len(by_prefix) == 1
            title = "-".join(folders if alone else filter(None, (*folders, prefix))) or source.name
            try:
                stacks.append(_stack(title, keys, images, masks))
            except UserError as error:
                failures.append((title, str(error)))
    return stacks, failures


def _stack(title: str, keys: list[Key], images: dict[Key, list[Path]], masks: dict[Key, list[Path]]) -> Stack:
    slices: dict[int, Path] = {}
    marked: dict[int, Path] = {}
    for key in keys:
        number = _number(key[1])
        if number is None:
            raise UserError(f"there is no slice number in the name {images[key][0].name}")
        for files, chosen in ((images, slices), (masks, marked)):
            found = files.get(key, [])
            if len(found) > 1 or (found and number in chosen):
                other = found[1] if len(found) > 1 else chosen[number]
                raise UserError(f"{found[0]} and {other} are both slice {number}; give the folder of one of them")
            if found:
                chosen[number] = found[0]
    numbers = sorted(slices)
    if len(numbers) < _MIN_SLICES:
        raise UserError(f"{len(numbers)} slice(s); at least {_MIN_SLICES} are needed for a volume")
    steps = [after - before for before, after in pairwise(numbers)]
    if len(set(steps)) > 1:
        jump = next(index for index, step in enumerate(steps) if step != min(steps))
        raise UserError(
            f"slices are missing between {numbers[jump]} and {numbers[jump + 1]}: without them, the others would be "
            "at wrong positions"
        )
    return Stack(title, {number: slices[number] for number in numbers}, dict(sorted(marked.items())))


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+", name.casefold())


def _rest(name: str) -> str:
    """Return a name without the words that distinguish images from masks."""
    parts = re.split(r"[\W_]+", name)
    kept = [part for part in parts if part and part.casefold() not in _MASK_WORDS | _IMAGE_WORDS]
    return "_".join(kept)


def _number(name: str) -> int | None:
    numbers = re.findall(r"\d+", name)
    return int(numbers[-1]) if numbers else None


def _prefix(name: str) -> str:
    return re.sub(r"[\W_]*\d+\D*$", "", name)
