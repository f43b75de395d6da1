"""Sets of axial slices with masks, by patient: pictures become volumes, DICOM stays as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from lib.datastore.catalog import Series
from lib.datastore.hounsfield import as_hu
from lib.errors import UserError
from lib.geometry.slice_stack import SliceStack
from lib.geometry.voxel_grid import LPS_TO_RAS, VoxelGrid
from lib.public_sets.case import Case, Drawing, Found, digest
from lib.public_sets.pictures import picture_size, read_grey, read_mask
from lib.public_sets.slice_folders import Key, Stack, find_pictures, find_stacks, is_mask, key_of
from lib.public_sets.workplace import Workplace
from lib.storage.atomic import write_atomically

KIND = "slices"
TITLE = "axial slices with masks"
_MARK = "LungLabel import "  # begins the description in the NIfTI header of what is converted here
_ROWS_AND_COLUMNS = ("00280010", "00280011")


@dataclass(frozen=True)
class Scale:
    """What pictures do not say themselves.

    Attributes:
        pixel_spacing: Between rows and between columns, mm.
        slice_spacing: Between slices that follow each other, mm.
        window: Centre and width, HU: black is its lower end, white its upper end.
        first_slice: ``head`` or ``feet``: where the slice with the lowest number lies.
    """

    pixel_spacing: tuple[float, float]
    slice_spacing: float
    window: tuple[float, float]
    first_slice: str = "head"


def find_picture_slices(source: Path, studies: Path, scale: Scale, mask_value: int | None) -> Found:
    """Slices as PNG, JPEG or TIFF. Each stack is to become ``<studies>/<name>.nii.gz``.

    Rows are taken to run to the back and columns to the left of the patient, as axial slices are drawn.

    Args:
        source: The set; absolute.
        studies: A folder for the volumes; absolute. It may hold what was converted here before.
        scale: Spacing and HU.
        mask_value: The grey level of the tumour in the masks; None where they have only one.

    Raises:
        UserError: There are no slices, or ``studies`` holds something else.
    """
    if studies.is_relative_to(source) or source.is_relative_to(studies):
        raise UserError(f"{studies} and {source} lie within each other; the set is never written to. Choose another.")
    foreign = [path for path in studies.iterdir() if not _description(path)] if studies.exists() else []
    if foreign:
        raise UserError(
            f"{studies} holds other files, such as {foreign[0].name}. The volumes need a folder of their own: "
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
        f"Grey is taken for {center - width / 2:g} to {center + width / 2:g} HU, the lowest number for the slice "
        f"nearest to the {scale.first_slice}. Each scan counts as a patient of its own.",
    ]
    return Found(KIND, TITLE, cases, failures, remarks)


def find_dicom_slices(source: Path, workplace: Workplace, mask_value: int | None) -> Found:
    """CT series of DICOM files with a mask picture beside or in a parallel folder, of the same name as its slice.

    Args:
        source: The set, which is the studies folder as well; absolute.
        workplace: Opened on it, and scanned.
        mask_value: As of :func:`find_picture_slices`.

    Raises:
        UserError: There are no CT series, or no masks.
    """
    masks: dict[Key, Path] = {}
    for path in sorted(find_pictures(source), key=lambda path: is_mask(path.relative_to(source))):
        masks[key_of(path.relative_to(source))] = path  # what is called a mask counts before what only has the name
    usable = [series for series in workplace.datastore.catalog.all() if series.problem is None and not series.file]
    if not usable:
        raise UserError(
            f"There is no usable CT series in {source}. If its slices are PNG or JPEG, say where their volumes shall "
            "be written and what the pictures do not tell: --studies NEW_FOLDER --pixel-spacing MM --slice-spacing MM "
            "--window CENTER WIDTH."
        )
    cases = [_dicom_case(source, series, workplace, masks, mask_value) for series in usable]
    if not any(case is not None for case in cases):
        raise UserError(f"None of the DICOM slices in {source} has a mask picture of the same name.")
    found = [case for case in cases if case is not None]
    return Found(KIND, TITLE, found, remarks=[f"{len(found)} of {len(usable)} CT series have masks."])


def _picture_case(stack: Stack, studies: Path, scale: Scale, mask_value: int | None, source: Path) -> Case:
    target = studies / (re.sub(r"[^\w.-]+", "_", stack.name) + ".nii.gz")
    # feet first in the volume, so that its third axis runs to the head
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
                raise UserError(f"{target} was made of other slices or with other values; choose another --studies")
            return "converted before"
        check()
        planes = [read_grey(stack.slices[number]) for number in numbers]
        if len({plane.dtype for plane in planes}) > 1:
            raise UserError("some slices have 8 bits, others 16")
        low, full = scale.window[0] - scale.window[1] / 2, np.iinfo(planes[0].dtype).max
        hu = as_hu(np.rint(low + np.stack(planes) * (scale.window[1] / full)))
        _write(target, hu, scale, mark)
        return f"converted, {len(planes)} slices"

    def draw(volume: Path) -> Drawing | None:
        if not stack.masks:
            return None
        grid = VoxelGrid.from_file(volume)
        voxels = np.zeros(grid.shape, np.uint8)
        for place, number in enumerate(numbers):
            if number in stack.masks:
                _put(voxels[place], stack.masks[number], mask_value)
        return _drawing(grid.image(voxels), len(stack.masks), len(numbers))

    where = next((path.parent for path in stack.masks.values()), source)
    sha256 = digest(stack.masks.values(), list(stack.masks), numbers, mask_value)
    return Case(stack.name, target, str(where.relative_to(source)), sha256, check, draw, prepare)


def _dicom_case(
    source: Path, series: Series, workplace: Workplace, masks: dict[Key, Path], mask_value: int | None
) -> Case | None:
    instances = workplace.client.index.instances(series.uid)
    marked = {
        place: masks[key]
        for place, instance in enumerate(instances)
        if (key := key_of(instance.path.relative_to(source))) in masks
    }
    if not marked:
        return None

    def check() -> bool:
        matrix = tuple(instances[0].attributes[tag]["Value"][0] for tag in _ROWS_AND_COLUMNS)
        sizes = {picture_size(path) for path in marked.values()}
        if sizes != {matrix}:
            raise UserError(f"slices of {_sizes({matrix})} pixels have masks of {_sizes(sizes)}")
        return True

    def draw(volume: Path) -> Drawing:
        grid = VoxelGrid.from_file(volume)
        voxels = np.zeros(grid.shape, np.uint8)
        order = SliceStack.from_headers([instance.attributes for instance in instances]).order
        for plane, place in zip(voxels, order, strict=True):
            if place in marked:
                _put(plane, marked[place], mask_value)
        return _drawing(grid.image(voxels), len(marked), len(voxels))

    first = next(iter(marked.values())).parent
    sha256 = digest(marked.values(), [instances[place].sop_uid for place in marked], mask_value)
    name = series.value("PatientID") or series.uid
    return Case(name, series.uid, str(first.relative_to(source)), sha256, check, draw)


def _put(plane: np.ndarray, path: Path, mask_value: int | None) -> None:
    mask = read_mask(path, mask_value)
    if mask.shape != plane.shape:
        raise UserError(f"the mask {path.name} has {_sizes([mask.shape])} pixels, its slice {_sizes([plane.shape])}")
    plane[:] = mask


def _drawing(mask: sitk.Image, masks: int, slices: int) -> Drawing:
    return Drawing(mask, (f"masks of {masks} of {slices} slices",))


def _write(target: Path, hu: np.ndarray, scale: Scale, mark: str) -> None:
    rows, columns = scale.pixel_spacing
    image = nibabel.Nifti1Image(hu.transpose(), LPS_TO_RAS @ np.diag([columns, rows, scale.slice_spacing, 1.0]))
    image.set_qform(image.affine, code=1)
    image.header["descrip"] = mark.encode()
    write_atomically(target, lambda part: nibabel.save(image, part))


def _description(path: Path) -> str:
    """What the header of a volume that was converted here says of it; empty where it is something else."""
    if path.name.startswith(".part-"):
        return _MARK
    try:
        text = bytes(nibabel.load(path).header["descrip"].item()).decode(errors="replace")
    except Exception:  # NiBabel raises many kinds for a file of another format
        return ""
    return text if text.startswith(_MARK) else ""


def _sizes(sizes: Iterable[tuple[int, ...]]) -> str:
    return ", ".join(f"{rows}×{columns}" for rows, columns in sorted(sizes))
