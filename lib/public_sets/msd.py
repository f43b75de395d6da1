"""Reader of the Medical Segmentation Decathlon (Task06 Lung) and other folders in its layout or that of nnU-Net."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.datastore.label_reader import read_values
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid
from lib.public_sets.case import Case, CaseLabel, PublicSet, digest
from lib.public_sets.text_tables import read_text

KIND = "msd"
TITLE = "Medical Segmentation Decathlon"
_TUMOUR = ("cancer", "lung cancer", "tumor", "lung tumor", "lesion", "nodule", "lung nodule", "gtv")
_POSITION_TOLERANCE_MM = 0.05


def find_msd(source: Path, wanted: Sequence[str]) -> PublicSet:
    """Read ``dataset.json`` and find its images and labels.

    Args:
        source: Absolute path of the folder with ``dataset.json``, ``imagesTr`` and ``labelsTr``.
        wanted: Names in ``dataset.json`` of the tumour labels; empty: names such as cancer or tumour.

    Raises:
        UserError: ``dataset.json`` is missing or damaged, or the tumour label is ambiguous.
    """
    content = _read_json(source / "dataset.json")
    names = _label_names(content)
    values = _chosen(names, wanted)
    regions = tuple(names[value] for value in values)
    cases, failures = [], []
    pairs = dict.fromkeys(_pairs(source, content))
    if not pairs:
        raise UserError(f"There is no label .nii or .nii.gz in {source / 'labelsTr'}, and dataset.json lists none.")
    for image, label in pairs:
        labels = [str(other.relative_to(source)) for one, other in pairs if one == image]
        if len(labels) > 1:
            failures.append((_stem(image), f"dataset.json gives it {len(labels)} labels: {', '.join(labels)}"))
            continue
        missing = [path.relative_to(source) for path in (image, label) if not path.is_file()]
        if missing:
            failures.append((_stem(image), f"{' and '.join(map(str, missing))} missing; not downloaded or unpacked?"))
            continue
        cases.append(_case(source, image, label, values, names))
    expected = content.get("numTraining", len(pairs))
    unlabelled = [path for path in (source / "imagesTs").glob("*.nii*") if not path.name.startswith(".")]
    remarks = [
        f"dataset.json says {expected} labelled images; {len(cases)} are here with their labels.",
        f"Labels called {', '.join(regions)} (value {', '.join(map(str, values))}) become the tumour.",
    ]
    if unlabelled:
        remarks.append(f"{len(unlabelled)} images of imagesTs have no labels; they are listed as unlabelled.")
    return PublicSet(KIND, TITLE, cases, failures, remarks)


def _case(source: Path, image: Path, label: Path, values: Sequence[int], names: Mapping[int, str]) -> Case:
    regions = tuple(names[value] for value in values)

    def check() -> bool:
        boxes = [_box(VoxelGrid.from_file(path)) for path in (image, label)]
        if np.abs(boxes[0] - boxes[1]).max() > _POSITION_TOLERANCE_MM:
            raise UserError(f"{label.name} is not on the same grid as its image.")
        return True

    def make_label(volume: Path) -> CaseLabel:
        grid = VoxelGrid.from_file(volume)
        marked = read_values(label, grid)
        strange = [value for value in np.unique(marked).tolist() if value not in {0, *names}][:5]
        if strange:
            raise UserError(f"{label.name} has the values {strange}; dataset.json knows {sorted({0, *names})}.")
        return CaseLabel(grid.image(np.isin(marked, values).astype(np.uint8)), regions)

    where = str(label.relative_to(source))
    return Case(_stem(image), image, where, digest([label], regions), check, make_label)


def _box(grid: VoxelGrid) -> np.ndarray:
    """Return the lowest and highest voxel centres (LPS, mm), independent of the order of the axes."""
    corners = grid.to_mm(np.stack(np.meshgrid(*((0, length - 1) for length in grid.size)), -1).reshape(-1, 3))
    return np.stack([corners.min(0), corners.max(0)])


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(
            f"There is no dataset.json in {path.parent}. Give the folder of the unpacked set, which contains "
            "dataset.json, imagesTr and labelsTr (Task06_Lung)."
        )
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}. Download it again.") from None
    if not isinstance(content, dict) or not isinstance(content.get("labels"), dict):
        raise UserError(f"{path} lists no labels; it is not the dataset.json of a segmentation set.")
    return content


def _label_names(content: dict[str, Any]) -> dict[int, str]:
    """Return the name of each value; the Decathlon writes ``{"1": "cancer"}``, nnU-Net ``{"cancer": 1}``."""
    names = {}
    for key, value in content["labels"].items():
        if isinstance(value, int):
            names[value] = str(key)
        elif str(key).isdigit():
            names[int(key)] = str(value)
    return names


def _chosen(names: dict[int, str], wanted: Sequence[str]) -> list[int]:
    known = ", ".join(repr(name) for value, name in sorted(names.items()) if value)
    if wanted:
        unknown = sorted({_normalized(name) for name in wanted} - {_normalized(name) for name in names.values()})
        if unknown:
            raise UserError(f"dataset.json has no label called {', '.join(unknown)}; it has {known}.")
    looked_for = {_normalized(name) for name in wanted or _TUMOUR}
    values = sorted(value for value, name in names.items() if value and _normalized(name) in looked_for)
    if not values or (len(values) > 1 and not wanted):
        raise UserError(f"dataset.json has the labels {known}. Select the tumour with --roi NAME.")
    return values


def _pairs(source: Path, content: dict[str, Any]) -> list[tuple[Path, Path]]:
    """Return image and label of each training case, from ``dataset.json`` or else from the files in ``labelsTr``."""
    listed = content.get("training")
    if listed:
        try:
            pairs = [(source / entry["image"], source / entry["label"]) for entry in listed]
        except (TypeError, KeyError):
            raise UserError('"training" in dataset.json must be a list of {"image": …, "label": …}.') from None
        outside = [path for pair in pairs for path in pair if ".." in path.parts or not path.is_relative_to(source)]
        if outside:
            raise UserError(f"dataset.json lists {outside[0]}, which is outside {source}.")
        return pairs
    labels = sorted(path for path in (source / "labelsTr").glob("*.nii*") if not path.name.startswith("."))
    return [(_nnunet_image(source / "imagesTr", label), label) for label in labels]


def _nnunet_image(folder: Path, label: Path) -> Path:
    """Return the image of a label; nnU-Net appends the channel number, as in ``lung_001_0000.nii.gz``."""
    channel = folder / re.sub(r"(\.nii(\.gz)?)$", r"_0000\1", label.name)
    return channel if channel.is_file() else folder / label.name


def _stem(path: Path) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", path.name)


def _normalized(name: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", name.casefold())).replace("tumour", "tumor")
