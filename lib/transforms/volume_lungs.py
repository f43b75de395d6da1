"""The lungs of a volume in any orientation: the middle of the body, and where lesions of the lungs can be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from lib.transforms.lungs import LungBox, find_lungs

_CLOSING_MM = 15.0  # takes in lesions at the wall and vessels up to twice as thick
_LARGEST_HOLE_MM2 = 3000.0  # of an axial slice, of a lesion 60 mm across


@dataclass(frozen=True)
class VolumeLungs:
    """The lungs of a volume.

    Attributes:
        volume: As stored.
        axial: The volume with its axes ordered as LPS.
        box: The lungs of ``axial``.
    """

    volume: sitk.Image
    axial: sitk.Image
    box: LungBox

    @property
    def midline(self) -> float:
        """Left-right position of the middle of the body around the lungs, LPS mm."""
        middle = (*self.box.body_centre, (self.box.start[2] + self.box.stop[2]) / 2)
        return float(self.axial.TransformContinuousIndexToPhysicalPoint(middle)[0])

    def region(self) -> LungRegion:
        """Return where lesions of the lungs can be: the air in the lungs, and what it encloses or nearly encloses."""
        spacing = [length * step for length, step in zip(self.axial.GetSpacing(), self.box.steps, strict=True)]
        filled = _without_holes(self.box.mask, spacing)
        middle = round(self.box.body_centre[0] / self.box.steps[0])
        sides = [_closed(side, spacing) for side in np.split(filled, [middle])]  # not across the mediastinum
        region = sitk.GetImageFromArray(np.concatenate(sides).transpose(2, 1, 0).astype(np.uint8))
        region.SetSpacing(spacing)
        region.SetOrigin(self.axial.GetOrigin())
        region.SetDirection(self.axial.GetDirection())
        stored = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(self.volume.GetDirection())
        region = sitk.DICOMOrient(region, stored)
        steps = (round(a / b) for a, b in zip(region.GetSpacing(), self.volume.GetSpacing(), strict=True))
        start = self.volume.TransformPhysicalPointToIndex(region.GetOrigin())
        return LungRegion(sitk.GetArrayFromImage(region).astype(bool), tuple(start), tuple(steps))


@dataclass(frozen=True)
class LungRegion:
    """A mask on every n-th voxel of a volume.

    Attributes:
        mask: bool (slice, row, column).
        start: Column, row and slice of its first voxel in the volume.
        steps: Voxels of the volume from one to the next, along columns, rows and slices.
    """

    mask: np.ndarray
    start: tuple[int, ...]
    steps: tuple[int, ...]


def find_volume_lungs(volume: sitk.Image) -> VolumeLungs | None:
    """Find the lungs of a volume in HU; None where no lungs are seen."""
    axial = sitk.DICOMOrient(volume, "LPS")
    box = find_lungs(sitk.GetArrayViewFromImage(axial).transpose(2, 1, 0), axial.GetSpacing())
    return None if box is None else VolumeLungs(volume, axial, box)


def _without_holes(mask: np.ndarray, spacing: list[float]) -> np.ndarray:
    """Fill the holes in each axial slice of a mask (X, Y, Z), unless they may be the heart between the lungs."""
    filled = mask.copy()
    for z in range(mask.shape[2]):
        holes, count = ndimage.label(ndimage.binary_fill_holes(mask[:, :, z]) & ~mask[:, :, z])
        areas = np.bincount(holes.ravel(), minlength=count + 1) * spacing[0] * spacing[1]
        areas[0] = np.inf
        filled[:, :, z] |= (areas <= _LARGEST_HOLE_MM2)[holes]
    return filled


def _closed(mask: np.ndarray, spacing: list[float]) -> np.ndarray:
    """Close a mask (X, Y, Z) in three dimensions."""
    closed = mask.copy()
    margin = [(steps := int(np.ceil(_CLOSING_MM / length)) + 1, steps) for length in spacing]
    for box in ndimage.find_objects(mask.astype(np.uint8)):  # one, or none
        padded = np.pad(mask[box], margin)
        grown = ndimage.distance_transform_edt(~padded, sampling=spacing) <= _CLOSING_MM
        inner = ndimage.distance_transform_edt(grown, sampling=spacing) > _CLOSING_MM
        closed[box] |= inner[tuple(slice(before, -after) for before, after in margin)]
    return closed
