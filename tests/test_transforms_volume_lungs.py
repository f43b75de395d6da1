"""The lungs of a stored volume in any orientation."""

import numpy as np
import pytest
import SimpleITK as sitk

from lib.geometry.voxel_grid import VoxelGrid
from lib.phantoms import Acquisition, PhantomLesion, chest_volume
from lib.transforms.volume_lungs import find_volume_lungs

LESION = PhantomLesion((-60, 10, 20), 20)
AXIAL, OTHER = ((36, 128, 128), (4, 2.8, 2.8)), ((90, 128, 128), (4, 2.9, 2.9))
FINE = ((72, 280, 280), (2, 1.3, 1.3))  # of which every second voxel counts


def volume_of(**options: object) -> sitk.Image:
    hu, _, affine = chest_volume(31, lesions=(LESION,), acquisition=Acquisition(**options))
    image = sitk.GetImageFromArray(hu.astype(np.int16))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    return image


@pytest.mark.parametrize(
    ("plane", "grid"),
    [
        ("head_first_prone", AXIAL),
        ("feet_first_supine", AXIAL),
        ("feet_first_supine", FINE),
        ("sagittal", OTHER),
        ("coronal", OTHER),
    ],
)
def test_region_has_lung_and_lesions_in_it_but_neither_mediastinum_nor_wall(plane, grid):
    shape, spacing = grid
    volume = volume_of(shape=shape, spacing=spacing, plane=plane)
    found = find_volume_lungs(volume)
    region = found.region()
    grid = VoxelGrid.from_image(volume)

    def inside(point: tuple[float, float, float]) -> bool:
        index = np.rint((grid.to_index(np.array(point, float)) - region.start) / region.steps).astype(int)
        in_it = ((index >= 0) & (index < region.mask.shape[::-1])).all()
        return bool(in_it and region.mask[tuple(index[::-1])])

    assert inside(LESION.center)
    assert inside((-60, -40, 20))
    assert inside((60, 10, 20))
    assert not inside((found.midline, 60, 20)), "the spine"
    assert not inside((-170, 10, 20)), "outside of the body"
    assert abs(found.midline) < 30


def test_no_lungs_are_found_in_water():
    assert find_volume_lungs(sitk.Image(60, 60, 60, sitk.sitkInt16)) is None
