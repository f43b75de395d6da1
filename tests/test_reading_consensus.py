"""Consensus of readers against SimpleITK's own filters, on generated outlines and on those of LIDC-IDRI."""

from itertools import combinations

import numpy as np
import pytest
import SimpleITK as sitk

from lib.annotations import lidc_xml
from lib.datastore.volume import read_volume
from lib.evaluation.lesion_agreement import agreement_on_lesions
from lib.evaluation.truth import read_truth
from lib.geometry.voxel_grid import VoxelGrid
from lib.reading.consensus import (
    ConsensusMethod,
    consensus_label,
    majority,
    mean_of_readers,
    staple,
    staple_by_lesion,
)
from lib.reading.disagreement import disagreements

SPACING = (1.0, 1.0, 2.0)
GRID = VoxelGrid.from_geometry((8, 8, 8), (0, 0, 0), SPACING, np.eye(3))


def balls(*radii, centre=(20, 20, 12), shape=(60, 40, 24)):
    """Return the outline of each reader: a ball with one of the radii, in mm; none for 0."""
    places = [(index - middle) * mm for index, middle, mm in zip(np.indices(shape), centre, SPACING, strict=True)]
    distance = np.sqrt(np.sum(np.square(places), axis=0))
    return np.stack([distance < radius for radius in radii])


def by_simple_itk(masks):
    """Return majority and STAPLE as a person calls SimpleITK on the masks, (slice, row, column)."""
    images = [sitk.GetImageFromArray(mask.transpose().astype(np.uint8)) for mask in masks]
    voted = sitk.GetArrayFromImage(sitk.LabelVoting(images, 1))
    estimated = sitk.STAPLEImageFilter()
    estimated.SetForegroundValue(1)
    return voted.transpose() == 1, sitk.GetArrayFromImage(estimated.Execute(images)).transpose()


def dice_by_simple_itk(masks):
    """Return the Dice of each two readers."""
    images, measures = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks], {}
    for one, other in combinations(range(len(images)), 2):
        overlap = sitk.LabelOverlapMeasuresImageFilter()
        overlap.Execute(images[one], images[other])
        measures[str(one), str(other)] = overlap.GetDiceCoefficient()
    return measures


def equals_simple_itk(masks):
    voted, estimated = by_simple_itk(masks)
    return np.array_equal(majority(masks), voted) and np.allclose(staple(masks), estimated, atol=1e-6)


def test_majority_and_staple_of_generated_outlines():
    masks = balls(5, 6, 7, 9)
    assert equals_simple_itk(masks)
    assert majority(masks).sum() == balls(7)[0].sum()  # two of four are half
    assert mean_of_readers(masks)[20, 20, 12] == 1 and set(np.unique(mean_of_readers(masks))) <= {0, 0.25, 0.5, 0.75, 1}


def test_staple_by_lesion_is_staple_around_each_lesion():
    near, far = balls(5, 6, 7), balls(4, 0, 8, centre=(45, 20, 12))
    for masks in (near, far):
        places, margin = np.argwhere(masks.any(axis=0)), np.array([10, 10, 5])  # 10 mm in voxels
        low, high = np.maximum(places.min(axis=0) - margin, 0), places.max(axis=0) + 1 + margin
        window = tuple(map(slice, low, high))
        expected = np.zeros(masks.shape[1:], bool)
        expected[window] = by_simple_itk(masks[(slice(None), *window)])[1] >= 0.5
        assert expected.any() and np.array_equal(staple_by_lesion(masks, SPACING), expected)
    both = staple_by_lesion(near, SPACING) | staple_by_lesion(far, SPACING)
    assert np.array_equal(staple_by_lesion(near | far, SPACING), both)


def test_consensus_of_one_reader_is_that_reader():
    masks = balls(5)
    for method in ConsensusMethod:
        assert np.array_equal(consensus_label(masks, SPACING, method), masks[0])


@pytest.mark.parametrize(("radii", "expected"), [((6, 6, 6), None), ((6, 0, 6), (2, 1.0)), ((4, 8), (2, 0.22))])
def test_lesions_that_readers_differ_on(radii, expected):
    masks = dict(zip("abc", balls(*radii), strict=False))
    found = disagreements(agreement_on_lesions("case", "P1", masks, GRID), lowest_dice=0.7)
    if expected is None:
        assert found == []
    else:
        (one,) = found
        assert (one.marked_by, one.lowest_dice) == (expected[0], pytest.approx(expected[1], abs=0.02))
        assert one.readers == len(radii)
        assert masks["a"][one.voxel]


def test_four_readers_of_lidc_idri_0001(shared_data):
    """Pairwise Dice of 0.84 to 0.90; majority and STAPLE equal SimpleITK's."""
    folder = shared_data / "lidc-idri-0001"
    grid = VoxelGrid.from_image(read_volume(sorted(folder.rglob("*.dcm"))))
    readers = lidc_xml.read_masks(folder / "069.xml", grid)
    masks = {f"reader {number}": mask.transpose() for number, mask in enumerate(readers, start=1)}
    (lesion,) = agreement_on_lesions("LIDC-IDRI-0001", "LIDC-IDRI-0001", masks, grid)
    dice = sorted(round(pair.dice, 2) for pair in lesion.pairs)
    assert dice == [0.84, 0.87, 0.87, 0.89, 0.90, 0.90]
    assert all(0.4 < pair.surface_mm < 0.9 and 2.5 <= pair.hausdorff_95_mm < 2.6 for pair in lesion.pairs)
    assert lesion.diameter_mm == pytest.approx(23.1, abs=0.1)
    stacked = np.stack([*masks.values()])[:, 250:350, 320:430, 80:100]
    assert equals_simple_itk(stacked)


def test_readers_of_lidc_nodules(shared_data):
    """Pairwise Dice, majority and STAPLE of the readers of 50 nodules equal SimpleITK's."""
    folder = shared_data / "lidc-nodules"
    if not (folder / "readers").is_dir():
        pytest.skip("SKIPPED: no outlines of the readers in ../shared/data/lidc-nodules/readers")
    paths = sorted((folder / "readers").iterdir())[::15][:50]
    assert len(paths) == 50
    compared = 0
    for path in paths:
        truth = read_truth(folder / "images" / path.name, path)
        masks = np.moveaxis(truth.readers, 3, 0)[truth.readers.any(axis=(0, 1, 2))]
        assert equals_simple_itk(masks), path.name
        if len(masks) > 1:
            lesions = agreement_on_lesions(path.name, path.name, {str(n): mask for n, mask in enumerate(masks)}, GRID)
            dice = {(pair.first, pair.second): pair.dice for lesion in lesions for pair in lesion.pairs}
            if len(lesions) == 1:
                compared += len(dice)
                assert dice == pytest.approx(dice_by_simple_itk(masks)), path.name
    assert compared > 100
