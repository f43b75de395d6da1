"""JoinedCandidates: pieces of a lesion are judged as one, and connected where the network found a lesion possible."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from lib.geometry.connected_components import connected_components
from lib.transforms.candidate_filter import JudgeCandidatesd
from lib.transforms.candidate_pieces import JoinedCandidates
from lib.transforms.candidates import Candidates

AFFINE = np.diag([1.25, 1.25, 3.0, 1.0])
THRESHOLD = 0.4


def pieces(gap, between=0.2):
    """Return a lesion in two pieces with empty slices between them, and a distant structure; background 0.01."""
    probability = np.full((40, 40, 30), 0.01, np.float32)
    probability[5:15, 5:15, 4:8] = 0.9
    probability[7:13, 7:13, 8 : 8 + gap] = between
    probability[5:15, 5:15, 8 + gap : 12 + gap] = 0.8
    probability[30:34, 30:34, 4:8] = 0.7
    return probability


def joined(probability):
    return JoinedCandidates.of(Candidates.of(probability, THRESHOLD, AFFINE))


def volume_judge(image, candidates):
    """Return a confidence that only large candidates get."""
    return np.where(candidates.volumes_mm3 > 3000, 0.9, 0.05)  # two pieces have 3750 mm³, one half of it


def judged(probability, judge=volume_judge):
    image = MetaTensor(torch.zeros(1, *probability.shape), affine=torch.from_numpy(AFFINE))
    data = {"pred": torch.from_numpy(probability.copy())[None], "image": image, "lungs": torch.ones(2, 2, 2)}
    settings = {"threshold": THRESHOLD, "min_diameter_mm": 3, "judge": judge, "min_confidence": 0.5}
    return JudgeCandidatesd(keys="pred", image_key="image", **settings)(data)


@pytest.mark.parametrize(("gap", "candidates"), [(1, 2), (2, 3)])  # distances of 6 and 9 mm
def test_components_up_to_seven_millimetres_apart_are_one_candidate(gap, candidates):
    found = joined(pieces(gap))
    assert found.candidates.count == candidates
    assert found.candidates.volumes_mm3.sum() == pytest.approx(found.pieces.volumes_mm3.sum())


def test_distance_is_measured_in_the_plane_too_and_over_a_third_piece():
    probability = np.zeros((60, 20, 4), np.float32)
    for start in (0, 7, 14, 30):  # 2 wide: gaps of 6 voxels from one to the next, 7.5 mm, but only 5 to a small piece
        probability[start : start + 2, 5:9, 1:3] = 0.9
    probability[4, 6, 1] = probability[11, 6, 1] = 0.9
    found = joined(probability)
    assert found.pieces.count == 6
    np.testing.assert_array_equal(np.bincount(found.owner), [5, 1])


def test_a_lesion_in_pieces_is_kept_with_one_confidence_and_becomes_one_component():
    result = judged(pieces(1))
    assert [confidence for _, confidence in result["findings"]] == [0.9]
    kept = result["pred"][0].numpy()
    assert connected_components(kept >= THRESHOLD)[1] == 1
    np.testing.assert_array_equal(kept[7:13, 7:13, 8], np.float32(THRESHOLD))  # the bridge, and nothing beside it
    assert (kept >= THRESHOLD).sum() == 2 * 400 + 36


def test_each_piece_alone_would_have_been_removed():
    result = judged(pieces(2))
    assert result["findings"] == []
    assert not (result["pred"] >= THRESHOLD).any()


def test_pieces_are_not_connected_where_the_network_excludes_a_lesion():
    kept = judged(pieces(1, between=0.05))["pred"][0].numpy()
    assert connected_components(kept >= THRESHOLD)[1] == 2


def test_pieces_of_a_candidate_that_is_removed_are_not_connected():
    result = judged(pieces(1), judge=lambda image, candidates: np.full(candidates.count, 0.1))
    assert not (result["pred"] >= THRESHOLD).any()


def test_a_candidate_of_one_component_is_unchanged():
    probability = pieces(0)
    kept = judged(probability)["pred"][0].numpy()
    np.testing.assert_array_equal(kept[:20], probability[:20])


def test_no_candidates():
    assert joined(np.zeros((8, 8, 4), np.float32)).candidates.count == 0
