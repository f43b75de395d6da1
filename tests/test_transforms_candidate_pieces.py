"""JoinedCandidates: pieces of a lesion are judged as one, and connected where the network found a lesion possible."""

import logging

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.spatial import cKDTree

from lib.geometry.connected_components import connected_components
from lib.transforms import candidate_pieces
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


def test_a_lesion_in_pieces_is_kept_with_one_confidence_and_becomes_one_component(caplog):
    with caplog.at_level(logging.INFO):
        result = judged(pieces(1))
    assert "Removed 1 of 3 findings" in caplog.text  # the distant structure
    assert [confidence for _, confidence in result["findings"]] == [0.9]
    kept = result["pred"][0].numpy()
    assert connected_components(kept >= THRESHOLD)[1] == 1
    raised = np.float32(THRESHOLD * 1.00001)
    np.testing.assert_array_equal(kept[7:13, 7:13, 8], raised)  # the bridge, and nothing beside it
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


def test_a_large_piece_is_not_searched_again_for_each_small_one(monkeypatch):
    probability = np.full((60, 60, 12), 0.2, np.float32)
    probability[:, :, 6:] = 0.9
    probability[2:58:4, 2:58:4, 4] = 0.8  # 196 voxels, 3 mm from the large piece
    searched = []

    class Tree(cKDTree):
        def __init__(self, points):
            super().__init__(points)
            searched.append(len(points))

        def query(self, points, **options):
            searched.append(len(points))
            return super().query(points, **options)

    monkeypatch.setattr(candidate_pieces, "cKDTree", Tree)
    found = joined(probability)
    assert (found.pieces.count, found.candidates.count) == (197, 1)
    found.connected(np.array([0.9]), np.array([True]), THRESHOLD)
    assert sum(searched) < 10 * probability.size


def test_a_bridge_survives_the_rounding_of_resampling():
    kept = judged(pieces(1))["pred"]
    shares = torch.linspace(0, 1, 181)
    between = kept[0, 8, 8, 8] * shares + kept[0, 9, 8, 8] * (1 - shares)
    assert (between >= THRESHOLD).all()


def test_no_candidates():
    assert joined(np.zeros((8, 8, 4), np.float32)).candidates.count == 0


def with_crumb(between=0.05):
    """Return `pieces` with a small third piece, of 8 voxels, 5 mm beside the first; background 0.01."""
    probability = pieces(1, between=between)
    probability[18:20, 8:10, 5:7] = 0.6
    return probability


@pytest.mark.parametrize(("confidence", "components"), [(0.05, 2), (0.7, 3)])
def test_a_small_piece_that_remains_apart_stays_only_if_it_is_likely_by_itself(confidence, components):
    def judge(image, candidates):
        return np.where(candidates.volumes_mm3 > 100, volume_judge(image, candidates), confidence)

    result = judged(with_crumb(), judge)
    assert connected_components(result["pred"][0].numpy() >= THRESHOLD)[1] == components
    found = sorted(one for _, one in result["findings"])
    assert found == ([0.9, 0.9] if components == 2 else [0.7, 0.9, 0.9])


def test_a_bridge_that_reaches_no_piece_is_not_marked():
    probability = pieces(1, between=0.01)
    probability[10, 10, 8] = 0.3  # between the pieces, and beside them
    assert (judged(probability)["pred"][0].numpy() >= THRESHOLD).sum() == 2 * 400 + 1
    probability = np.full((40, 40, 30), 0.01, np.float32)
    probability[5:15, 5:15, 4:8] = probability[19:29, 5:15, 4:8] = 0.9  # 6.25 mm apart
    probability[16:18, 10, 6] = 0.3  # near both, and touches neither
    mask = (
        judged(probability, judge=lambda image, candidates: np.full(candidates.count, 0.9))["pred"][0].numpy()
        >= THRESHOLD
    )
    assert connected_components(mask)[1] == 2 and mask.sum() == 800


@pytest.mark.parametrize("order", [1, -1])
def test_a_candidate_that_a_bridge_reaches_does_not_lend_its_confidence_to_a_larger_one(order):
    probability = np.full((40, 40, 30), 0.01, np.float32)
    probability[5:15, 5:25, 4:8] = probability[5:25, 5:7, 4:8] = probability[5:15, 5:25, 9:13] = 0.9
    probability[20:24, 18:22, 8] = 0.9  # 8 mm from both pieces
    probability[5:20, 18:22, 8] = 0.2  # connects the pieces, and touches the third
    result = judged(
        np.ascontiguousarray(probability[::order]),
        judge=lambda image, candidates: np.where(candidates.volumes_mm3 > 3000, 0.6, 0.9),
    )
    largest, confidence = max(result["findings"], key=lambda one: len(one[0]))
    assert len(largest) > 800
    assert confidence == 0.6


def test_whether_pieces_are_joined_at_the_limit_does_not_depend_on_their_place():
    counts = set()
    for start in range(10):
        probability = np.zeros((11 + start, 60, 1), np.float32)
        probability[0, 0] = probability[[start, start + 10], 59] = 0.9  # the last two are 10 * 0.7 mm apart
        counts.add(JoinedCandidates.of(Candidates.of(probability, THRESHOLD, np.diag([0.7, 1, 1]))).candidates.count)
    assert counts == {3}
