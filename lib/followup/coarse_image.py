"""Small copies of chest CTs for registration: a few mm per voxel, clipped to the densities of the lungs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lib.geometry.regular_grid import RegularGrid
from lib.geometry.voxel_grid import VoxelGrid
from lib.transforms.lungs import find_lungs

_VOXEL_MM = 4.0  # voxels are at most this long, unless the slices are thicker
_HU = (-1000, 150)  # air to soft tissue: bone, contrast agent and the table must not decide
_MARGIN = 4  # voxels of the lung mask (about 2.5 mm): the chest wall and the diaphragm belong to the region


@dataclass(frozen=True)
class CoarseImage:
    """A small copy of a scan.

    Attributes:
        image: HU clipped to lung densities, float32, in patient coordinates.
        region: Mask of the lungs and their surroundings, on a grid of its own; None if no lungs were found.
        centre: Of the lungs, or else of the image, LPS mm.
    """

    image: sitk.Image
    region: sitk.Image | None
    centre: np.ndarray

    @classmethod
    def read(cls, volume: Path) -> CoarseImage:
        """Return the small copy of a volume.

        Args:
            volume: File in HU; unevenly spaced or tilted slices are resampled at their true positions.

        Raises:
            RuntimeError: The file cannot be read.
        """
        full = _regular(sitk.ReadImage(str(volume)))
        shrink = sitk.BinShrinkImageFilter()
        shrink.SetNumberOfThreads(1)
        shrink.SetShrinkFactors([max(1, int(_VOXEL_MM / mm)) for mm in full.GetSpacing()])
        image = sitk.Cast(sitk.Clamp(shrink.Execute(full), sitk.sitkInt16, *_HU), sitk.sitkFloat32)
        lungs = _lungs(full)
        if lungs is None:
            return cls(image, None, middle_of(image))
        shape = sitk.LabelShapeStatisticsImageFilter()
        shape.Execute(lungs)
        return cls(image, sitk.BinaryDilate(lungs, [_MARGIN] * 3), np.array(shape.GetCentroid(1)))

    def voxels(self) -> np.ndarray:
        """Return its voxels (slice, row, column)."""
        return sitk.GetArrayViewFromImage(self.image)

    def inside(self) -> np.ndarray:
        """Return which of its voxels (slice, row, column) are in the region; all without one."""
        if self.region is None:
            return np.ones(self.voxels().shape, bool)
        region = sitk.Resample(self.region, self.image, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        return sitk.GetArrayFromImage(region) > 0


def middle_of(image: sitk.Image) -> np.ndarray:
    """Return the middle of an image, LPS mm."""
    return np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))


def _regular(image: sitk.Image) -> sitk.Image:
    """Return an image with evenly spaced slices at right angles to their normal."""
    grid = VoxelGrid.from_image(image)
    regular = RegularGrid.through(grid) if grid.size[2] > 1 else None
    if regular is None:
        return image
    slices = sitk.GetArrayViewFromImage(image).transpose(2, 1, 0)[None]
    voxels = regular.resample(slices, _HU[0], 1, 0, regular.depth)[0]
    affine = regular.affine(grid.affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    made = sitk.GetImageFromArray(np.rint(voxels.transpose(2, 1, 0)).astype(np.int16))
    made.SetSpacing(spacing.tolist())
    made.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    made.SetOrigin(affine[:3, 3].tolist())
    return made


def _lungs(image: sitk.Image) -> sitk.Image | None:
    axial = sitk.DICOMOrient(image, "LPS")
    found = find_lungs(sitk.GetArrayViewFromImage(axial).transpose(2, 1, 0), axial.GetSpacing())
    if found is None:
        return None
    mask = sitk.GetImageFromArray(found.mask.transpose(2, 1, 0).astype(np.uint8))
    mask.SetOrigin(axial.GetOrigin())
    mask.SetDirection(axial.GetDirection())
    mask.SetSpacing([mm * step for mm, step in zip(axial.GetSpacing(), found.steps, strict=True)])
    return mask
