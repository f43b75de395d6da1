"""What holds for the findings of any probability, judge and grid: from the network's field to the stored mask."""

import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.spatial.transform import Rotation

from lib.geometry.axial_slices import AxialSlices
from lib.geometry.connected_components import connected_components
from lib.geometry.field_geometry import FieldGeometry
from lib.geometry.voxel_grid import LPS_TO_RAS, SLICE_POSITIONS
from lib.transforms.candidate_filter import JudgeCandidatesd
from lib.transforms.stored_findings import StoredFindingsd
from lib.transforms.stored_grid import StoredMaskd, StoredProbability

THRESHOLD = 0.4
LIMIT = 0.5


def random_field(rng):
    """Return the field of a small image: flipped, permuted, oblique, sheared or uneven, of finer or coarser pixels."""
    affine = np.eye(4)
    spacing = np.diag(rng.choice([0.2, 0.7, 1.0, 2.5, 5.0], 3) * rng.choice([-1, 1], 3))
    axes = rng.permutation(3) if rng.random() < 0.3 else [0, 1, 2]
    affine[:3, :3] = Rotation.from_rotvec(rng.normal(size=3) * rng.choice([0, 0.2])).as_matrix() @ spacing[:, axes]
    affine[:3, 2] += affine[:3, 1] * rng.choice([0, 0, 0.4])
    image = MetaTensor(torch.zeros(1, *rng.integers(1, 20, 3).tolist()), affine=torch.from_numpy(affine))
    if rng.random() < 0.2:
        steps = np.cumsum(rng.choice([0.2, 1, 1, 3], image.shape[3]))
        image.meta[SLICE_POSITIONS] = json.dumps((steps[:, None] * (LPS_TO_RAS @ affine)[:3, 2]).tolist())
    slices = AxialSlices.of(image)
    side = max(slices.shape[:2]) + int(rng.integers(6))
    start = int(rng.integers(-3, 2))
    pixels = max(2, min(24, round(side * rng.choice([0.25, 0.5, 1, 2]))))
    return FieldGeometry(slices, (start, start), (start + side, start + side), (pixels, pixels))


def random_probability(rng, shape):
    """Return overlapping boxes, some of them as weak as a bridge, and sometimes single voxels."""
    probability = np.full(shape, 0.01, np.float32)
    for _ in range(rng.integers(9)):
        box = tuple(slice(start, start + rng.integers(1, 6)) for start in rng.integers(shape))
        probability[box] = rng.choice([0.9, 0.6, 0.41, THRESHOLD, 0.2, 0.12, 0.05])
    return np.maximum(probability, (rng.random(shape) < rng.choice([0, 0.03])) * np.float32(0.6))


def random_judge(rng):
    """Return a judge that refuses all, none, or some by their volume."""
    kind, seed = rng.choice(["none", "all", "some", "some"]), rng.random()

    def judge(image, candidates):
        assert candidates.count, "it is asked about something"
        some = (np.sin(candidates.volumes_mm3.round(3) * 12.9 + seed) * 43758.5) % 1
        return {"none": some * 0.4, "all": 0.5 + some / 2, "some": some}[kind]

    return judge


def judged(probability, image, lungs, judge):
    settings = {"threshold": THRESHOLD, "min_diameter_mm": 1.0, "judge": judge, "min_confidence": LIMIT}
    data = {"pred": torch.from_numpy(probability.copy())[None], "image": image, "lungs": lungs}
    return JudgeCandidatesd(keys="pred", image_key="image", **settings)(data)


def sets(findings, shape, turned=()):
    """Return the voxels of each finding with its confidence, turned back."""
    signs = np.where(np.isin(range(3), turned), -1, 1)
    last = np.where(signs < 0, np.array(shape) - 1, 0)
    return {frozenset(map(tuple, (voxels * signs + last).tolist())): confidence for voxels, confidence in findings}


@pytest.mark.parametrize("seed", range(24))
def test_findings_of_any_scan(seed):
    rng = np.random.default_rng(seed)
    field = random_field(rng)
    probability, judge = random_probability(rng, field.shape), random_judge(rng)
    lungs = None if rng.random() < 0.2 else torch.zeros(2, 2, 2, dtype=torch.bool)
    image = MetaTensor(torch.zeros(1, *field.shape), affine=torch.from_numpy(field.affine))
    image.applied_operations = [{"extra_info": {"field": field.as_dict()}}]
    data = judged(probability, image, lungs, judge)
    after, findings = data["pred"][0].numpy().copy(), data["findings"]

    # In the field: each marked voxel is in one finding; only candidates and bridges change.
    covered = np.zeros(field.shape, int)
    for voxels, confidence in findings:
        assert len(voxels)
        assert confidence is None if lungs is None else confidence >= LIMIT
        np.add.at(covered, tuple(voxels.T), 1)
        assert (np.diff(after[tuple(voxels.T)]) <= 0).all(), "the most probable first"
    np.testing.assert_array_equal(covered, after >= THRESHOLD)
    changed = probability[after != probability]
    assert (changed >= np.float32(THRESHOLD / 4)).all()
    raised = (after != probability) & (after > 0)
    assert (probability[raised] < THRESHOLD).all() and (after[raised] < THRESHOLD * 1.001).all()
    assert lungs is not None or not raised.any()

    # The mirrored scan has the same.
    turned = tuple(np.flatnonzero(rng.random(3) < 0.7))
    mirrored = judged(np.flip(probability, turned), image, lungs, judge)
    np.testing.assert_array_equal(np.flip(mirrored["pred"][0].numpy(), turned), after)
    assert sets(mirrored["findings"], field.shape, turned) == sets(findings, field.shape)

    # In the image: a voxel in each component, a component for each judged finding, nothing else marked.
    plain = np.zeros(field.slices.stored_shape, bool)
    for window, values in StoredProbability(data["pred"], image).blocks():
        plain[window] = values >= THRESHOLD
    data = StoredMaskd(keys="pred", image_key="image", threshold=THRESHOLD)(data)
    data = StoredFindingsd(keys="pred", image_key="image")(data)
    mask = data["pred"].numpy()
    components, count = connected_components(mask)
    assert sorted(components[voxel] for voxel, _ in data["findings"]) == list(range(1, count + 1))
    assert {confidence for _, confidence in data["findings"]} <= {confidence for _, confidence in findings}
    if lungs is None or not findings:
        np.testing.assert_array_equal(mask, plain)
        return
    allowed = plain.copy()
    of_component = {int(components[voxel]): confidence for voxel, confidence in data["findings"]}
    for voxels, confidence in findings:
        places = field.covered_indices(voxels)
        places = tuple(places[((places >= 0) & (places < mask.shape)).all(1)].T)
        if len(places[0]):  # not in the padding
            allowed[places] = True
            assert max(of_component.get(number, 0) for number in components[places]) >= confidence
    assert allowed[mask > 0].all()
