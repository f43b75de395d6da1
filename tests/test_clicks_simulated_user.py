"""Simulated clicks: on the lesion, in the largest error, in the plane in which the user looks."""

import numpy as np
import pytest

from lib.clicks.channels import click_map, network_input
from lib.clicks.simulated_user import first_click, next_click, real_click, scribble
from lib.settings import load_info


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def lesion():
    places = np.indices((24, 30, 36)) - np.array([10, 14, 20]).reshape(3, 1, 1, 1)
    return (places**2).sum(0) < 49


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_first_click_is_on_the_lesion_and_varies(lesion, rng, axis):
    clicks = [first_click(lesion, rng, (2, 1, 1), axis) for _ in range(200)]
    assert all(click.positive and lesion[tuple(click.place)] for click in clicks)
    from_middle = [np.linalg.norm(click.place - [10, 14, 20]) for click in clicks]
    assert min(from_middle) < 2
    assert max(from_middle) > 6, "some are on the rim"


def test_next_click_is_in_the_largest_error(lesion, rng):
    found = lesion.copy()
    found[10:, :, 20:] = False  # misses a quarter
    found[1, 1, 1] = True  # marks a single voxel too many
    clicks = [next_click(found, lesion, rng) for _ in range(50)]
    assert all(click.positive and (lesion & ~found)[tuple(click.place)] for click in clicks)
    too_large = np.zeros_like(lesion)
    too_large[2:20, 4:26, 8:34] = True
    click = next_click(too_large | lesion, lesion, rng)
    assert not click.positive
    assert not lesion[tuple(click.place)]
    assert next_click(lesion, lesion, rng) is None


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_correction_in_a_plane_is_central_in_it(lesion, rng, axis):
    clicks = [next_click(np.zeros_like(lesion), lesion, rng, axis=axis) for _ in range(100)]
    assert all(lesion[tuple(click.place)] for click in clicks)
    assert len({click.place[axis] for click in clicks}) > 3, "in several planes"


def test_one_voxel_is_enough(rng):
    lesion = np.zeros((5, 5, 5), bool)
    lesion[2, 3, 4] = True
    for axis in (None, 0, 1, 2):
        assert first_click(lesion, rng, axis=axis).place.tolist() == [2, 3, 4]
    assert scribble(lesion, rng).tolist() == [[2, 3, 4]]


def test_real_click_on_the_lesion_is_half_of_the_first_ones(lesion, rng):
    elsewhere = [[0, 0, 0], [-1, 14, 20], [10, 14, 36], [10, 14, 2**31]]
    drawn = [real_click(lesion, np.array([*elsewhere, [10, 14, 20], [12, 14, 22]]), rng) for _ in range(400)]
    places = {tuple(place.tolist()) for place in drawn if place is not None}
    assert places == {(10, 14, 20), (12, 14, 22)}
    assert 150 < sum(place is not None for place in drawn) < 250
    state = rng.bit_generator.state
    assert real_click(lesion, np.array(elsewhere), rng) is None
    assert rng.bit_generator.state == state, "what is drawn without real clicks does not depend on this"


def test_scribble_lies_on_the_lesion_in_one_plane(lesion, rng):
    for _ in range(30):
        points = scribble(lesion, rng)
        assert lesion[tuple(points.T)].all()
        assert any(len(set(along)) == 1 for along in points.T.tolist())


def test_click_map_falls_with_the_distance_from_the_nearest_click():
    nearness = click_map(np.array([[5, 5, 5], [5, 5, 9.4], [99, 0, 0], [-3, 5, 5]]), 16)
    assert nearness[5, 5, 5] == nearness[5, 5, 9] == 1
    assert nearness[5, 5, 7] == pytest.approx(0.8)
    assert nearness[5, 5, 15] == pytest.approx(0.4)
    assert nearness[15, 15, 0] == 0
    assert not click_map(np.empty((0, 3)), 16).any()


def test_channels_of_the_network():
    preprocessing = load_info()["preprocessing"]
    hu = np.full((16, 16, 16), 3000.0)
    former = np.zeros((16, 16, 16), bool)
    former[3] = True
    channels = network_input(hu, np.array([[1, 2, 3]]), np.array([[4, 5, 6]]), former, preprocessing)
    assert channels.shape == (4, 16, 16, 16)
    assert channels.dtype == np.float32
    assert channels[0] == pytest.approx((400 - preprocessing["hu_mean"]) / preprocessing["hu_std"])
    assert np.unravel_index(channels[1].argmax(), (16, 16, 16)) == (1, 2, 3)
    assert np.unravel_index(channels[2].argmax(), (16, 16, 16)) == (4, 5, 6)
    np.testing.assert_array_equal(channels[3], former)
    assert not network_input(hu, np.empty((0, 3)), np.empty((0, 3)), None, preprocessing)[1:].any()
