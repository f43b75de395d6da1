"""Large tumours set into whole scans: sizes, the chest wall, cavities, and the lesions that were there before."""

import numpy as np
import pytest
from scipy import ndimage

from lib.evaluation.composed_scans import APART_MM, Volume
from lib.training import large_tumours
from lib.training.large_tumours import DIAMETERS_MM, Shape, insert_large_tumours

LUNG_HU, WALL_HU = -850.0, 300.0
SPACING = (1.0, 1.0, 2.0)


def nodule(diameter_mm=12.0):
    """Return a crop with a ball."""
    grid = np.indices((24, 24, 12)) * np.reshape(SPACING, (3, 1, 1, 1))
    distance = np.linalg.norm(grid - np.reshape([12.0, 12.0, 12.0], (3, 1, 1, 1)), axis=0)
    mask = distance <= diameter_mm / 2
    return Volume("nodule", np.where(mask, 40.0, LUNG_HU).astype(np.float32), mask, np.diag([*SPACING, 1]), SPACING)


@pytest.fixture
def scan():
    """Return a scan with one lung, 120 mm wide, that has a small lesion in one corner; and its lung mask."""
    hu = np.full((160, 160, 80), WALL_HU, np.float32)
    lung = np.zeros(hu.shape, bool)
    lung[20:140, 20:140, 10:70] = True
    hu[lung] = LUNG_HU
    mask = np.zeros(hu.shape, bool)
    mask[24:30, 24:30, 14:17] = True
    hu[mask] = 40
    return Volume("scan", hu, mask, np.diag([*SPACING, 1]), SPACING), lung


def insert(scan, lung, seed=0, count=1):
    return insert_large_tumours(scan, lung, [Shape.of(nodule())] * count, np.random.default_rng(seed))


def sizes_mm(mask):
    labels, count = ndimage.label(mask)
    voxels = ndimage.sum_labels(mask, labels, range(1, count + 1))
    return (6 * voxels * np.prod(SPACING) / np.pi) ** (1 / 3)


def test_shape_is_enlarged_to_the_diameter_on_the_grid_of_the_scan():
    shape = Shape.of(nodule())
    assert shape.diameter_mm == pytest.approx(12, abs=0.5)
    spacing = (0.8, 0.8, 3.0)
    depth = shape.enlarged(36, spacing)
    voxels = (depth > 0).sum() * np.prod(spacing)
    assert (6 * voxels / np.pi) ** (1 / 3) == pytest.approx(36, abs=3)
    assert depth.max() == pytest.approx(18, abs=3), "still a distance in mm"
    assert (depth[[0, -1]] < 0).all(), "nothing is set in at the border of the crop"


def test_wall_and_other_lesions_stay(scan, monkeypatch):
    monkeypatch.setattr(large_tumours, "_SHARE_AT_WALL", 1.0)
    volume, lung = scan
    before = volume.hu.copy()
    for seed in range(4):
        composed, placed = insert(volume, lung, seed)
        assert placed == 1
        inserted = composed.mask & ~volume.mask
        assert inserted.any() and (composed.mask & volume.mask).sum() == volume.mask.sum()
        assert (composed.hu[~lung] == WALL_HU).all(), "denser than a tumour"
        assert (ndimage.binary_dilation(inserted) & ~lung).any(), "it touches the wall"
        apart = ndimage.distance_transform_edt(~volume.mask, sampling=SPACING)[inserted]
        assert apart.min() > 5
    assert (volume.hu == before).all()


def test_tumours_are_dense_large_and_apart(scan):
    volume, lung = scan
    found = []
    for seed in range(5):
        composed, placed = insert(volume, lung, seed, count=2)
        inserted = composed.mask & ~volume.mask
        sizes = sizes_mm(inserted)
        assert len(sizes) == placed
        found.extend(sizes)
        core = ndimage.binary_erosion(inserted, iterations=2)
        assert np.median(composed.hu[core]) > -150
    assert len(found) >= 5
    assert max(found) > 25
    assert max(found) <= DIAMETERS_MM[1] * 1.1


def test_cavity_is_air_and_belongs_to_the_lesion(scan, monkeypatch):
    monkeypatch.setattr(large_tumours, "_SHARE_CAVITY", 1.0)
    monkeypatch.setattr(large_tumours, "_SHARE_AT_WALL", 0.0)
    monkeypatch.setattr(large_tumours, "DIAMETERS_MM", (40.0, 40.0))
    volume, lung = scan
    composed, placed = insert(volume, lung)
    assert placed == 1
    inserted = composed.mask & ~volume.mask
    assert (composed.hu[inserted] < -700).any()
    assert ndimage.binary_fill_holes(inserted).sum() == inserted.sum()


def test_without_a_free_position_nothing_is_set_in(scan):
    volume, _ = scan
    composed, placed = insert(volume, np.zeros(volume.hu.shape, bool))
    assert placed == 0
    assert (composed.hu == volume.hu).all()
    assert (composed.mask == volume.mask).all()


def test_tumours_are_apart_where_the_crop_ends_at_the_nodule(monkeypatch):
    monkeypatch.setattr(large_tumours, "DIAMETERS_MM", (16.0, 18.0))
    whole = nodule()
    (box,) = ndimage.find_objects(whole.mask.astype(np.uint8))
    shape = Shape.of(Volume("tight", whole.hu[box], whole.mask[box], whole.affine, SPACING))
    lung = np.ones((60, 60, 24), bool)
    lung[0] = False
    hu, mask = np.full(lung.shape, LUNG_HU, np.float32), np.zeros(lung.shape, bool)
    for seed in range(3):
        scan = Volume("scan", hu, mask, np.diag([*SPACING, 1]), SPACING)
        composed, placed = insert_large_tumours(scan, lung, [shape] * 6, np.random.default_rng(seed))
        assert placed > 1
        labels, count = ndimage.label(composed.mask, np.ones((3, 3, 3)))
        assert count == placed
        for one in range(1, count):
            distance = ndimage.distance_transform_edt(labels != one, sampling=SPACING)
            assert distance[labels > one].min() > APART_MM - 0.1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(50, 58))
def test_any_scan(seed):
    rng = np.random.default_rng(seed)
    spacing = (1.5, 1.5, float(rng.choice([1, 3, 8, 10])))
    hu = np.full((*rng.integers(20, 60, 2), rng.integers(1, 20)), WALL_HU, np.float32)
    lung = np.zeros(hu.shape, bool)
    lung[tuple(slice(start, None) for start in rng.integers((10, 10, 2)))] = True
    hu[lung] = LUNG_HU
    volume = Volume("scan", hu, np.zeros(hu.shape, bool), np.diag([-1.5, -1.5, spacing[2], 1]), spacing)
    shape = Shape(np.full((7, 9, 3), -4.0), (1.5, 1.5, 2.5), 10.0)
    shape.depth_mm[2:5, 2:7, 1] = 2.0  # seen in one slice
    shapes = [shape, Shape.of(nodule())]
    composed, placed = insert_large_tumours(volume, lung, shapes, np.random.default_rng(seed))
    again, _ = insert_large_tumours(volume, lung, shapes, np.random.default_rng(seed))
    np.testing.assert_array_equal(composed.hu, again.hu)
    assert composed.mask.shape == hu.shape
    assert composed.hu.min() >= -1024 and composed.hu.max() <= WALL_HU, "and none is NaN"
    assert bool(placed) == composed.mask.any()
    at_lung = ndimage.distance_transform_edt(~lung, sampling=spacing) <= 2
    assert at_lung[composed.mask | (composed.hu != hu)].all()
