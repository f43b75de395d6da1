"""StoredFindingsd: each finding keeps a component of the mask and its confidence, and fragments are removed."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from lib.geometry.axial_slices import AxialSlices
from lib.geometry.connected_components import connected_components
from lib.geometry.field_geometry import FieldGeometry
from lib.transforms import stored_findings
from lib.transforms.candidate_filter import JudgeCandidatesd
from lib.transforms.stored_findings import StoredFindingsd
from lib.transforms.stored_grid import StoredMaskd, StoredProbability

THRESHOLD = 0.4
LPS = (-1, -1, 1)


class SameGrid:
    """The network's field is the grid of the image."""

    def stored_indices(self, indices):
        return np.rint(indices).astype(int)

    covered_indices = stored_indices


@pytest.fixture
def after(monkeypatch):
    """Return a function from a mask, findings and a spacing to mask and findings after the transform."""
    monkeypatch.setattr(stored_findings, "field_of", lambda image: SameGrid())

    def transformed(mask, findings, spacing=(1.0, 1.0, 1.0)):
        image = MetaTensor(torch.from_numpy(mask.copy()), affine=torch.diag(torch.tensor([*spacing, 1.0])))
        findings = [(np.argwhere(voxels), confidence) for voxels, confidence in findings]
        data = {"pred": image, "image": image, "findings": findings}
        data = StoredFindingsd("pred", image_key="image")(data)
        return data["pred"].numpy(), data["findings"]

    return transformed


@pytest.fixture
def dropped(after):
    return lambda *arguments, **options: after(*arguments, **options)[0]


def box(*sides, shape=(40, 40, 20)):
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(*side) for side in sides)] = 1
    return mask


LARGE = box((4, 8), (4, 8), (4, 8))  # 64 voxels
CRUMB = box((10, 12), (4, 6), (4, 6))  # 8 voxels beside it
HALF = box((4, 7), (10, 13), (4, 7))  # 27 voxels
OTHER = box((30, 32), (30, 32), (10, 12))  # 8 voxels, farther away
DIVIDED = LARGE | CRUMB | HALF | OTHER
FINDINGS = [(LARGE | CRUMB | HALF, 0.8), (OTHER, 0.4)]


def test_fragments_of_less_than_a_quarter_are_removed(after):
    mask, found = after(DIVIDED, FINDINGS)
    np.testing.assert_array_equal(mask, DIVIDED - CRUMB)
    assert sorted(confidence for _, confidence in found) == [0.4, 0.8, 0.8]
    assert all(mask[voxel] for voxel, _ in found)


def test_what_no_finding_has_voxels_of_belongs_to_the_nearest(after):
    mask, found = after(DIVIDED, [(LARGE, 0.8), (OTHER, 0.4)])
    np.testing.assert_array_equal(mask, DIVIDED - CRUMB)
    assert sorted(confidence for _, confidence in found) == [0.4, 0.8, 0.8]


def test_a_component_far_from_every_finding_stays(dropped):
    far = box((30, 32), (4, 6), (4, 6))  # 22 voxels from the first finding
    np.testing.assert_array_equal(dropped(DIVIDED | far, FINDINGS[:1]), (DIVIDED | far) - CRUMB)


def test_a_small_component_with_a_finding_of_its_own_stays(after):
    mask, found = after(DIVIDED, [(LARGE | HALF, 0.8), (OTHER, 0.4), (CRUMB, 0.3)])
    np.testing.assert_array_equal(mask, DIVIDED)
    assert dict(found)[10, 4, 4] == 0.3


def test_a_small_finding_stays_beside_a_large_component_that_nobody_judged(dropped):
    np.testing.assert_array_equal(dropped(LARGE | CRUMB, [(CRUMB, 0.3)]), LARGE | CRUMB)


def test_the_largest_part_stays_wherever_the_most_probable_voxel_is(after):
    lobe_first = [(np.concatenate([np.argwhere(CRUMB), np.argwhere(LARGE)]), 0.8)]
    image = MetaTensor(torch.from_numpy(LARGE | CRUMB), affine=torch.eye(4))
    data = {"pred": image, "image": image, "findings": lobe_first}
    found = StoredFindingsd("pred", image_key="image")(data)
    np.testing.assert_array_equal(found["pred"].numpy(), LARGE)
    assert found["findings"] == [((4, 4, 4), 0.8)]


def test_in_a_crop_nothing_is_removed_or_added(after):
    lost = box((20, 22), (20, 22), (4, 6))
    mask, found = after(DIVIDED, [(voxels, None) for voxels, _ in FINDINGS] + [(lost, None)])
    np.testing.assert_array_equal(mask, DIVIDED)
    assert [confidence for _, confidence in found] == [None] * 4
    assert after(DIVIDED * 0, [])[1] == []


def test_a_fragment_belongs_to_the_nearest_finding_in_millimetres(dropped):
    large = box((2, 8), (4, 10), (4, 10))  # 216 voxels, 3 voxels from the fragment
    fragment = box((11, 13), (4, 6), (4, 6))
    equal = box((11, 13), (4, 6), (8, 10))  # as large as the fragment, 3 slices from it
    mask, findings = large | fragment | equal, [(large, 0.8), (equal, 0.8)]
    assert dropped(mask, findings, spacing=(1, 1, 0.5)).sum() == mask.sum()
    assert dropped(mask, findings, spacing=(1, 1, 5.0)).sum() == mask.sum() - 8


def test_the_distance_of_a_fragment_is_that_of_its_nearest_voxel(dropped):
    long = box((10, 13), (4, 6), (4, 6))  # 3 voxels from the large one, and 4 from one of its own size
    equal = box((16, 19), (4, 6), (4, 6))
    np.testing.assert_array_equal(dropped(LARGE | long | equal, [(LARGE, 0.8), (equal, 0.4)]), LARGE | equal)


def test_components_that_meet_have_the_confidence_of_the_most_confident(after):
    _, found = after(LARGE, [(box((4, 5), (4, 5), (4, 5)), 0.9), (box((5, 8), (4, 8), (4, 8)), 0.3)])
    assert found == [((4, 4, 4), 0.9)]


@pytest.fixture(params=[LPS, (1, 1, -1), (-1, 1, 1)])
def inferred(request):
    """Return a function from a probability (80, 80, 20) to mask and findings on an image of 0.7 x 0.7 x 5 mm."""
    shape = (156, 156, 20)
    image = MetaTensor(torch.zeros(1, *shape), affine=torch.diag(torch.tensor([0.7, 0.7, 5, 1])))
    image.affine[:3] *= torch.tensor(request.param)[:, None]
    slices = AxialSlices.of(image)

    def run(probability, judge, padding=0):
        field = FieldGeometry(slices, (-padding, -padding), (156, 156), (80, 80))
        network_input = MetaTensor(torch.zeros(1, *field.shape), affine=torch.from_numpy(field.affine))
        network_input.applied_operations = [{"extra_info": {"field": field.as_dict()}}]
        data = {"pred": torch.from_numpy(probability)[None], "image": network_input, "lungs": torch.ones(2, 2, 2)}
        settings = {"threshold": THRESHOLD, "min_diameter_mm": 3, "judge": judge, "min_confidence": 0.5}
        for transform in (
            JudgeCandidatesd(keys="pred", image_key="image", **settings),
            StoredMaskd(keys="pred", image_key="image", threshold=THRESHOLD),
            StoredFindingsd(keys="pred", image_key="image"),
        ):
            data = transform(data)
        mask = data["pred"].numpy()
        components, _ = connected_components(mask)
        numbers = [components[voxel] for voxel, _ in data["findings"]]
        assert sorted(numbers) == list(range(1, components.max() + 1))
        sizes = np.bincount(components.ravel())
        return {int(sizes[n]): confidence for n, (_, confidence) in zip(numbers, data["findings"], strict=True)}

    return run


def background():
    return np.full((80, 80, 20), 0.01, np.float32)


@pytest.mark.parametrize(("alone", "left"), [(0.7, [0.7, 0.9]), (0.9, [0.9, 0.9]), (0.1, [0.9])])
def test_a_lesion_connected_by_a_narrow_bridge_is_not_lost_with_the_bridge(inferred, alone, left):
    probability = background()
    probability[20:30, 20:30, 10:12] = probability[33:36, 22:28, 10:12] = 0.9
    probability[30:33, 24, 10:12] = 0.2  # too narrow for resampling

    def judge(image, candidates):
        return np.where(candidates.volumes_mm3 > 1000, 0.9, alone)

    assert sorted(inferred(probability, judge).values()) == left


def test_a_connected_lesion_with_a_likely_lobe_is_one_finding(inferred):
    probability = background()
    probability[20:30, 20:30, 10:12] = probability[33:36, 22:28, 10:12] = 0.9
    probability[30:33, 22:28, 10:12] = 0.2
    found = inferred(probability, lambda image, candidates: np.where(candidates.volumes_mm3 > 1000, 0.6, 0.9))
    assert list(found.values()) == [0.6]


def test_a_finding_that_no_voxel_of_the_image_is_left_of_is_marked(inferred):
    probability = background()
    probability[20, 20, 10:12] = 0.6
    ((voxels, confidence),) = inferred(probability, lambda image, candidates: np.full(candidates.count, 0.8)).items()
    assert confidence == 0.8
    assert 2 * (1.3 / 0.7) ** 2 < voxels < 2 * (3 / 0.7) ** 2


@pytest.mark.parametrize("pixels", [36, 64, 100])
def test_a_lost_finding_is_marked_without_gaps_in_an_image_with_small_pixels(pixels):
    image = MetaTensor(torch.zeros(1, pixels, pixels, 4), affine=torch.diag(torch.tensor([0.3, 0.3, 5, 1])))
    field = FieldGeometry(AxialSlices.of(image), (0, 0), (pixels, pixels), (10, 10))
    network_input = MetaTensor(torch.zeros(1, *field.shape), affine=torch.from_numpy(field.affine))
    network_input.applied_operations = [{"extra_info": {"field": field.as_dict()}}]
    probability = torch.full((1, *field.shape), 0.01)
    probability[0, 4:6, 5, 1:3] = 0.41
    assert not StoredProbability(probability, network_input).mask(THRESHOLD).any()
    mask = StoredProbability(probability, network_input).mask(
        THRESHOLD, [(np.argwhere(probability[0].numpy() > 0.4), 0.8)]
    )
    assert connected_components(mask)[1] == 1
    assert mask.sum() <= 2 * (2 * pixels / 10 + 1) * (pixels / 10 + 1), "covered, and nothing beside it"


def test_a_finding_in_the_padding_of_the_field_is_not_marked(inferred):
    probability = np.full((80, 80, 20), 0.01, np.float32)
    probability[1:5, 1:5, 10:12] = 0.9
    assert inferred(probability, lambda image, candidates: np.full(candidates.count, 0.8), padding=20) == {}


def test_a_finding_that_is_lost_does_not_lend_its_confidence_to_another(inferred):
    probability = background()
    probability[18:23, 18:23, 14:17] = 0.9
    probability[20, 20, 11:13] = 0.55  # 10 mm below it
    found = inferred(probability, lambda image, candidates: np.where(candidates.volumes_mm3 > 100, 0.55, 0.95))
    assert found[max(found)] == 0.55
    assert sorted(found.values()) == [0.55, 0.95]
