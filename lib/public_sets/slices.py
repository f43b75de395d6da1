"""Reader of sets of axial slices with masks: pictures are converted to volumes, DICOM is used as it is."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk

from lib.datastore.catalog import Series
from lib.datastore.hounsfield import as_hu
from lib.errors import UserError
from lib.geometry.slice_stack import SliceStack
from lib.geometry.voxel_grid import LPS_TO_RAS, VoxelGrid
from lib.public_sets.case import Case, CaseLabel, PublicSet, digest
from lib.public_sets.import_target import ImportTarget
from lib.public_sets.pictures import picture_size, read_grey, read_mask
from lib.public_sets.slice_folders import Key, Stack, find_pictures, find_stacks, is_mask, key_of
from lib.storage.atomic import write_atomically

KIND = "slices"
TITLE = "axial slices with masks"
_MARK = "LungLabel import "  # prefix of the description in the NIfTI header of converted volumes
_ROWS_AND_COLUMNS = ("00280010", "00280011")


@dataclass(frozen=True)
class Scale:
    """Geometry and intensity scale, which pictures do not contain.

    Attributes:
        pixel_spacing: Between rows and between columns, mm.
        slice_spacing: Between adjacent slices, mm.
        window: Centre and width, HU: black is its lower end, white its upper end.
        first_slice: ``head`` or ``feet``: end of the scan with the lowest slice number.
    """

    pixel_spacing: tuple[float, float]
    slice_spacing: float
    window: tuple[float, float]
    first_slice: str = "head"


def find_picture_slices(source: Path, studies: Path, scale: Scale, mask_value: int | None) -> PublicSet:
    """Find slices as PNG, JPEG or TIFF; each stack will be converted to ``<studies>/<name>.nii.gz``.

    Row indices are assumed to increase towards the back and column indices towards the left of the patient, the usual
    orientation of axial slices.

    Args:
        source: Absolute path of the set.
        studies: Absolute path of the folder for the volumes; it may contain volumes of an earlier conversion.
        scale: Spacing and HU.
        mask_value: Grey level of the tumour in the masks; None if they have only one.

    Raises:
        UserError: There are no slices, or ``studies`` contains other files.
    """
    if studies.is_relative_to(source) or source.is_relative_to(studies):
        raise UserError(f"{studies} and {source} overlap; the set is never written to. Choose another folder.")
    foreign = [path for path in studies.iterdir() if not _description(path)] if studies.exists() else []
    if foreign:
        raise UserError(
            f"{studies} contains other files, such as {foreign[0].name}. The volumes need a separate folder: "
            "--studies NEW_FOLDER."
        )
    stacks, failures = find_stacks(source)
    if not stacks and not failures:
        raise UserError(f"There are no PNG, JPEG or TIFF slices in {source}.")
    cases = [_picture_case(stack, studies, scale, mask_value, source) for stack in stacks]
    without = sum(len(stack.slices) - len(stack.masks) for stack in stacks if stack.masks)
    center, width = scale.window
    remarks = [
        f"{sum(len(stack.slices) for stack in stacks)} slices of {len(stacks)} scans, "
        f"{sum(len(stack.masks) for stack in stacks)} masks; "
        f"{without} slices of labelled scans have no mask and count as free of tumour.",
        f"Black to white is {center - width / 2:g} to {center + width / 2:g} HU, the lowest number is the slice "
        f"nearest to the {scale.first_slice}. Each scan counts as a separate patient.",
    ]
    return PublicSet(KIND, TITLE, cases, failures, remarks)


def find_dicom_slices(source: Path, target: ImportTarget, mask_value: int | None) -> PublicSet:
    """Find CT series of DICOM files with masks as pictures of the same name, in the same or a parallel folder.

    Args:
        source: Absolute path of the set, which is also the studies folder.
        target: Opened on the set, and scanned.
        mask_value: As in :func:`find_picture_slices`.

    Raises:
        UserError: There are no CT series, or no masks.
    """
    pictures: dict[Key, list[Path]] = defaultdict(list)
    for path in find_pictures(source):
        pictures[key_of(path.relative_to(source))].append(path)
    masks = {
        key: [path for path in paths if is_mask(path.relative_to(source))] or paths for key, paths in pictures.items()
    }
    usable = [series for series in target.datastore.catalog.all() if series.problem is None and not series.file]
    if not usable:
        raise UserError(
            f"There is no usable CT series in {source}. If its slices are PNG or JPEG, give a folder for the volumes "
            "and the scale that pictures do not contain: --studies NEW_FOLDER --pixel-spacing MM --slice-spacing MM "
            "--window CENTER WIDTH."
        )
    cases, failures = [], []
    for series in usable:
        try:
            case = _dicom_case(source, series, target, masks, mask_value)
        except UserError as error:
            failures.append((series.value("PatientID") or series.uid, str(error)))
        else:
            cases += [case] if case else []
    if not cases and not failures:
        raise UserError(f"None of the DICOM slices in {source} has a mask picture of the same name.")
    remarks = [f"{len(cases) + len(failures)} of {len(usable)} CT series have masks."]
    return PublicSet(KIND, TITLE, cases, failures, remarks)


def _picture_case(stack: Stack, studies: Path, scale: Scale, mask_value: int | None, source: Path) -> Case:
    target = studies / (re.sub(r"[^\w.-]+", "_", stack.name) + ".nii.gz")
    # Feet first in the volume, so that its third axis points to the head.
    numbers = sorted(stack.slices, reverse=scale.first_slice == "head")

    def check() -> bool:
        sizes = {picture_size(path) for path in (*stack.slices.values(), *stack.masks.values())}
        if len(sizes) > 1:
            raise UserError(f"slices and masks have different sizes: {_sizes(sizes)}")
        return bool(stack.masks)

    def prepare() -> str:
        mark = _MARK + digest(stack.slices.values(), astuple(scale), list(stack.slices))[:40]
        if target.exists():
            if _description(target) != mark:
                raise UserError(f"{target} was made from other slices or with other values; choose another --studies")
            return "already converted"
        check()
        planes = [read_grey(stack.slices[number]) for number in numbers]
        if len({plane.dtype for plane in planes}) > 1:
            raise UserError("some slices have 8 bits, others 16")
        low, full = scale.window[0] - scale.window[1] / 2, np.iinfo(planes[0].dtype).max
        hu = as_hu(np.rint(low + np.stack(planes) * (scale.window[1] / full)))
        _write(target, hu, scale, mark)
        return f"converted, {len(planes)} slices"

    def make_label(volume: Path) -> CaseLabel | None:
        if not stack.masks:
            return None
        grid = VoxelGrid.from_file(volume)
        voxels = np.zeros(grid.shape, np.uint8)
        for index, number in enumerate(numbers):
            if number in stack.masks:
                _copy_mask(voxels[index], stack.masks[number], mask_value)
        return _case_label(grid.image(voxels), len(stack.masks), len(numbers))

    folder = next((path.parent for path in stack.masks.values()), source)
    sha256 = digest(stack.masks.values(), list(stack.masks), numbers, mask_value)
    return Case(stack.name, target, str(folder.relative_to(source)), sha256, check, make_label, prepare)


def _dicom_case(
    source: Path, series: Series, target: ImportTarget, masks: Mapping[Key, Sequence[Path]], mask_value: int | None
) -> Case | None:
    instances = target.client.index.instances(series.uid)
    named = {
        index: masks[key]
        for index, instance in enumerate(instances)
        if (key := key_of(instance.path.relative_to(source))) in masks
    }
    if not named:
        return None
    for first, *others in named.values():
        if others:
            raise UserError(f"{first} and {others[0]} are masks of the same slice; give the folder of one of them")
    marked = {index: paths[0] for index, paths in named.items()}

    def check() -> bool:
        matrix = tuple(instances[0].attributes[tag]["Value"][0] for tag in _ROWS_AND_COLUMNS)
        sizes = {picture_size(path) for path in marked.values()}
        if sizes != {matrix}:
            raise UserError(f"slices of {_sizes({matrix})} pixels have masks of {_sizes(sizes)}")
        return True

    def make_label(volume: Path) -> CaseLabel:
        grid = VoxelGrid.from_file(volume)
        voxels = np.zeros(grid.shape, np.uint8)
        order = SliceStack.from_headers([instance.attributes for instance in instances]).order
        for plane, index in zip(voxels, order, strict=True):
            if index in marked:
                _copy_mask(plane, marked[index], mask_value)
        return _case_label(grid.image(voxels), len(marked), len(voxels))

    first = next(iter(marked.values())).parent
    sha256 = digest(marked.values(), [instances[index].sop_uid for index in marked], mask_value)
    name = series.value("PatientID") or series.uid
    return Case(name, series.uid, str(first.relative_to(source)), sha256, check, make_label)


def _copy_mask(plane: np.ndarray, path: Path, mask_value: int | None) -> None:
    mask = read_mask(path, mask_value)
    if mask.shape != plane.shape:
        raise UserError(f"the mask {path.name} has {_sizes([mask.shape])} pixels, its slice {_sizes([plane.shape])}")
    plane[:] = mask


def _case_label(mask: sitk.Image, masks: int, slices: int) -> CaseLabel:
    return CaseLabel(mask, (f"masks of {masks} of {slices} slices",))


def _write(target: Path, hu: np.ndarray, scale: Scale, mark: str) -> None:
    rows, columns = scale.pixel_spacing
    image = nibabel.Nifti1Image(hu.transpose(), LPS_TO_RAS @ np.diag([columns, rows, scale.slice_spacing, 1.0]))
    image.set_qform(image.affine, code=1)
    image.header["descrip"] = mark.encode()
    write_atomically(target, lambda part: nibabel.save(image, part))


def _description(path: Path) -> str:
    """Return the description in the header of a converted volume; empty for other files."""
    if path.name.startswith(".part-"):
        return _MARK
    try:
        header: Any = nibabel.load(path).header
        text = bytes(header["descrip"].item()).decode(errors="replace")
    except Exception:  # NiBabel raises many kinds for files of other formats
        return ""
    return text if text.startswith(_MARK) else ""


def _sizes(sizes: Iterable[tuple[int, ...]]) -> str:
    return ", ".join(f"{rows}×{columns}" for rows, columns in sorted(sizes))
