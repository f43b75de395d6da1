"""From the names that a viewer gave its segments to the label values of this app: by name, never by number."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import SimpleITK as sitk

from lib.errors import UserError

# Segments of MONAI Label's Slicer module that are no label.
_HELPERS = ("background", "foreground scribbles", "background scribbles")


def label_value(name: str, labels: Mapping[str, int]) -> int:
    """The value of the label that a name stands for; 0 for the helper segments of MONAI Label's Slicer module.

    Capitals, what stands between the words, and the British "tumour" make no difference.

    Raises:
        UserError: No label has this name.

    Example:
        >>> label_value("Lung Tumour", {"lung_tumor": 1})
        1
    """
    known = {_plain(known): value for known, value in labels.items()} | dict.fromkeys(_HELPERS, 0)
    try:
        return known[_plain(name)]
    except KeyError:
        raise UserError(
            f"The label has a segment named {name!r}, and no label of this app is called so; there is "
            f"{', '.join(labels)}. Rename the segment, or leave it out."
        ) from None


def merge_segments(image: sitk.Image, labels: Mapping[str, int]) -> sitk.Image | None:
    """Give the segments of a ``.seg.nrrd`` the values of the labels that they are named after.

    Slicer's header names for each segment its layer (a component of the image; segments that overlap lie in
    several) and its value there: ``Segment0_Name``, ``Segment0_Layer``, ``Segment0_LabelValue``. A segment without
    voxels may be called anything. Where labels overlap the last one counts, as in Slicer's own export.

    Args:
        image: As read from the file.
        labels: Label values by name.

    Returns:
        The labels as uint8 on the grid of ``image``; None where the header names no segments.

    Raises:
        UserError: A segment has an unknown name, or voxels belong to no segment.
    """
    header = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.startswith("Segment")}
    numbers = sorted(int(match[1]) for key in header if (match := re.fullmatch(r"Segment(\d+)_Name", key)))
    if not numbers:
        return None
    layers = _layers(image)
    merged = np.zeros(layers[0].shape, np.uint8)
    nameless = [layer != 0 for layer in layers]
    for number in numbers:
        # Slicer up to 4.10 and MONAI Label's own writer give each segment a layer, with the value 1.
        layer = _whole(header, f"Segment{number}_Layer", number if len(layers) > 1 else 0)
        if not 0 <= layer < len(layers):
            raise UserError(f"Segment{number} of the label lies in layer {layer}; the file has {len(layers)} layer(s).")
        inside = layers[layer] == _whole(header, f"Segment{number}_LabelValue", 1)
        nameless[layer] &= ~inside
        if inside.any() and (value := label_value(header[f"Segment{number}_Name"], labels)):
            merged[inside] = value
    if any(voxels.any() for voxels in nameless):
        raise UserError("The label has voxels that belong to no segment of its header; save it in Slicer again.")
    named = sitk.GetImageFromArray(merged)
    named.CopyInformation(image)
    return named


def values_by_label_info(label_info: Any, found: Collection[int], labels: Mapping[str, int]) -> dict[int, int]:
    """Which value of a label file is which label, after the ``label_info`` that a client sent with it.

    MONAI Label's Slicer module numbers what it exports 1, 2, … in the order of ``label_info``, while ``idx`` counts
    the segments that it leaves out (background, scribbles) too. So where an ``idx`` is not the position in the list,
    that reading is taken under which every value has a name; where both would do and differ, the label is refused.

    Args:
        label_info: ``[{"name": "lung_tumor", "idx": 1}, …]``; without ``idx`` the position counts.
        found: Values other than 0 that occur in the file.
        labels: Label values by name.

    Returns:
        Value in the file to value of the label, for each of ``found``.

    Raises:
        UserError: ``label_info`` is something else, names no label of this app, or does not fit the file.
    """
    if not isinstance(label_info, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) and isinstance(entry.get("idx", 0), int)
        for entry in label_info
    ):
        raise UserError('label_info must be a list such as [{"name": "lung_tumor", "idx": 1}].')
    by_order = {position: entry["name"] for position, entry in enumerate(label_info, 1)}
    by_index = {entry.get("idx", position): entry["name"] for position, entry in enumerate(label_info, 1)}
    readings = [
        {value: names[value] for value in found} for names in (by_index, by_order) if set(found) <= names.keys()
    ]
    if not readings:
        raise UserError(f"The label has the values {sorted(found)}; label_info names only {sorted(by_index)}.")
    if readings[0] != readings[-1]:
        raise UserError(
            "label_info does not tell which value of the label is which: its idx and its order disagree. "
            "Send a .seg.nrrd, which names its segments itself."
        )
    return {value: label_value(name, labels) for value, name in readings[0].items()}


def _plain(name: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", name.casefold())).replace("tumour", "tumor")


def _whole(header: Mapping[str, str], key: str, default: int) -> int:
    text = header.get(key, str(default)).strip()
    if not re.fullmatch(r"\d{1,9}", text):
        raise UserError(f"{key} in the header of the label is no number: {text!r}.")
    return int(text)


def _layers(image: sitk.Image) -> list[np.ndarray]:
    """The components of an image as arrays (slice, row, column)."""
    array = sitk.GetArrayFromImage(image)
    return [array] if image.GetNumberOfComponentsPerPixel() == 1 else list(np.moveaxis(array, -1, 0))
