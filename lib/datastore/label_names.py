"""Mapping from a viewer's segments to this app's label values, by segment name rather than number."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import SimpleITK as sitk

from lib.errors import UserError

# Helper segments of MONAI Label's Slicer module, which are not labels.
_HELPERS = ("background", "foreground scribbles", "background scribbles")


def label_value(name: str, labels: Mapping[str, int]) -> int:
    """Return the label value of a segment name; 0 for the helper segments of MONAI Label's Slicer module.

    Case, word separators and the British spelling "tumour" are ignored.

    Raises:
        UserError: No label has this name.

    Example:
        >>> label_value("Lung Tumour", {"lung_tumor": 1})
        1
    """
    known = {_normalised(known): value for known, value in labels.items()} | dict.fromkeys(_HELPERS, 0)
    try:
        return known[_normalised(name)]
    except KeyError:
        raise UserError(
            f"The label has a segment named {name!r}, which is not a label of this app ({', '.join(labels)}). "
            "Rename or remove the segment."
        ) from None


def merge_segments(image: sitk.Image, labels: Mapping[str, int]) -> sitk.Image | None:
    """Merge the segments of a ``.seg.nrrd`` into one image with the label values of their names.

    Slicer's header has the layer of each segment (a component of the image; overlapping segments are in different
    layers) and its value there: ``Segment0_Name``, ``Segment0_Layer``, ``Segment0_LabelValue``. The name of a segment
    without voxels is not checked. Where labels overlap, the last one wins, as in Slicer's own export.

    Args:
        image: Image as read from the file.
        labels: Label values by name.

    Returns:
        The labels as uint8 on the grid of ``image``; None if the header names no segments.

    Raises:
        UserError: A segment has an unknown name, or voxels do not belong to any segment.
    """
    header = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.startswith("Segment")}
    numbers = sorted(int(match[1]) for key in header if (match := re.fullmatch(r"Segment(\d+)_Name", key)))
    if not numbers:
        return None
    layers = _layers(image)
    merged = np.zeros(layers[0].shape, np.uint8)
    unassigned = [layer != 0 for layer in layers]
    for number in numbers:
        # Slicer up to 4.10 and MONAI Label's own writer give each segment its own layer, with the value 1.
        layer = _integer(header, f"Segment{number}_Layer", number if len(layers) > 1 else 0)
        if not 0 <= layer < len(layers):
            raise UserError(f"Segment{number} of the label is in layer {layer}; the file has {len(layers)} layer(s).")
        inside = layers[layer] == _integer(header, f"Segment{number}_LabelValue", 1)
        unassigned[layer] &= ~inside
        if inside.any() and (value := label_value(header[f"Segment{number}_Name"], labels)):
            merged[inside] = value
    if any(voxels.any() for voxels in unassigned):
        raise UserError("The label has voxels that belong to no segment of its header. Save it in Slicer again.")
    named = sitk.GetImageFromArray(merged)
    named.CopyInformation(image)
    return named


def values_by_label_info(label_info: Any, found: Collection[int], labels: Mapping[str, int]) -> dict[int, int]:
    """Map the values of a label file to label values, given the ``label_info`` that a client sent with it.

    MONAI Label's Slicer module numbers the exported segments 1, 2, … in the order of ``label_info``, while ``idx``
    also counts the segments that it does not export (background, scribbles). So if an ``idx`` is not the position in
    the list, the interpretation is used in which every value has a name; if both are possible and differ, the label is
    refused.

    Args:
        label_info: ``[{"name": "lung_tumor", "idx": 1}, …]``; ``idx`` defaults to the position, from 1.
        found: Values in the file other than 0.
        labels: Label values by name.

    Returns:
        The label value of each value in ``found``.

    Raises:
        UserError: ``label_info`` is malformed, names no label of this app, or does not match the file.
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
            "label_info is ambiguous: its idx and its order assign different names to the values of the label. "
            "Send a .seg.nrrd, which contains the names of its segments."
        )
    return {value: label_value(name, labels) for value, name in readings[0].items()}


def _normalised(name: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", name.casefold())).replace("tumour", "tumor")


def _integer(header: Mapping[str, str], key: str, default: int) -> int:
    text = header.get(key, str(default)).strip()
    if not re.fullmatch(r"\d{1,9}", text):
        raise UserError(f"{key} in the header of the label is not an integer: {text!r}.")
    return int(text)


def _layers(image: sitk.Image) -> list[np.ndarray]:
    """Return the components of an image as arrays (slice, row, column)."""
    array = sitk.GetArrayFromImage(image)
    return [array] if image.GetNumberOfComponentsPerPixel() == 1 else list(np.moveaxis(array, -1, 0))
