"""Points, boxes and former masks of requests: what is accepted, and the sentence for what is not."""

import json

import numpy as np
import pytest

from lib.clicks.prompts import Prompts
from lib.clicks.region import Region
from lib.errors import UserError
from tests.support.click_models import grid_in_order

GRID = grid_in_order((0, 1, 2), (False, False, False))  # 60 columns, 56 rows, 40 slices


def prompts(**request):
    return Prompts.from_request(request, GRID)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "Nothing says where the lesion is"),
        ({"foreground": [], "background": []}, "Nothing says where the lesion is"),
        ({"background": [[1, 2, 3]]}, "Nothing says where the lesion is"),
        ({"foreground": [[60, 0, 0]]}, r"foreground has a point outside the image: \[60, 0, 0\].*\[59, 55, 39\]"),
        ({"foreground": [[0, 0, -1]]}, "outside the image"),
        ({"foreground": [[1, 1, 1]], "background": [[0, 0, 1e300]]}, "background has a point outside the image"),
        ({"foreground": [[float("nan"), 0, 0]]}, "three finite numbers"),
        ({"foreground": [[float("inf"), 0, 0]]}, "three finite numbers"),
        ({"foreground": [[10**400, 0, 0]]}, "three finite numbers"),
        ({"foreground": [[True, 0, 0]]}, "three finite numbers"),
        ({"foreground": [[1, 2]]}, "three finite numbers"),
        ({"foreground": [1, 2, 3]}, "three finite numbers"),
        ({"foreground": "[[1, 2, 3]]"}, "three finite numbers"),
        ({"foreground": {"0": [1, 2, 3]}}, "three finite numbers"),
        ({"foreground": [[1, 2, 3]] * 10_001}, "at most 10000"),
        ({"box": [[1, 2, 3]]}, "two opposite corners"),
        ({"box": [[1, 2, 3], [4, 5, 99]]}, "box has a point outside the image"),
        ({"former": [1, 2]}, "former must be"),
        ({"former": {"offset": [0, 0, 0], "size": [1, 1, 1], "runs": [2]}}, "add up to the 1 voxels"),
        ({"former": {"offset": [59, 0, 0], "size": [2, 1, 1], "runs": [2]}}, "not within the image"),
        ({"former": {"offset": [0, 0, 0], "size": [1, 1, 1], "runs": [-1, 2]}}, "whole numbers"),
        ({"former": {"offset": [0, 0], "size": [1, 1, 1], "runs": [1]}}, "three numbers"),
        ({"former": {"offset": [0, 0, 0], "size": [2, 1, 1], "runs": [2]}}, "Nothing says where"),
    ],
)
def test_invalid_requests_get_a_sentence(request_, message):
    with pytest.raises(UserError, match=message):
        prompts(**request_)


def test_empty_former_mask_corrects_nothing():
    point = [[30, 20, 10]]
    painted = {"offset": [1, 1, 1], "size": [2, 1, 1], "runs": [0, 2]}
    assert not prompts(foreground=point, former={**painted, "runs": [2]}).corrects()
    assert prompts(foreground=point, former=painted).corrects()
    assert prompts(foreground=point, background=point).corrects()


def test_points_are_rounded_to_voxels():
    assert prompts(foreground=[[1.4, 2.6, 3]]).positive.tolist() == [[1, 3, 3]]


def test_integers_larger_than_64_bits_are_outside():
    with pytest.raises(UserError, match="outside"):
        prompts(foreground=[[10**30, 0, 0]])


def test_box_may_be_given_by_any_two_opposite_corners():
    assert prompts(box=[[9, 2, 8], [3, 7, 4]]).box.tolist() == [[3, 2, 4], [9, 7, 8]]


def test_what_shows_the_lesion():
    former = Region.of(np.ones((2, 3, 4), bool), [10, 20, 30]).to_json()
    assert prompts(former=former).extent().tolist() == [[30, 20, 10], [33, 22, 11]]
    assert prompts(foreground=[[1, 2, 3]], former=former).seeds().tolist() == [[1, 2, 3]]
    assert len(prompts(former=former).seeds()) == 24
    assert prompts(box=[[0, 0, 0], [4, 6, 8]]).seeds().tolist() == [[2, 3, 4]]


@pytest.mark.parametrize("seed", range(6))
def test_region_survives_json(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((4, 5, 6)) < (0.0, 0.05, 0.5, 0.5, 0.95, 1.0)[seed]
    region = Region.of(mask, [3, 2, 1])
    parsed = Region.from_json(json.loads(json.dumps(region.to_json())), GRID.size, "former")
    assert parsed.offset == region.offset
    np.testing.assert_array_equal(parsed.mask, region.mask)
    placed = np.zeros(GRID.shape, bool)
    placed[region.window] = region.mask
    expected = np.zeros(GRID.shape, bool)
    expected[3:7, 2:7, 1:7] = mask
    np.testing.assert_array_equal(placed, expected)
