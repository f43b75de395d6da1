"""Corrections of a probability map by clicks."""

import numpy as np

from lib.clicks.corrections import follow_points

SPACING = np.array([2.5, 0.7, 0.7])
NONE = np.empty((0, 3), int)


def half_lesion():
    """Return a map that is sure of lesion in the columns up to 19, and sure of none beyond."""
    probability = np.full((9, 40, 40), 0.03)
    probability[:, :, :20] = 0.97
    return probability


def points(*places):
    return np.array(places)


def test_points_that_the_map_contradicts_are_followed():
    added, taken = points((4, 20, 23)), points((4, 10, 15), (2, 30, 12))
    logits = follow_points(half_lesion(), 0.4, added, taken, SPACING)
    assert (logits[tuple(added.T)] > 0).all()
    assert (logits[tuple(taken.T)] < 0).all()


def test_points_that_the_map_agrees_with_change_nothing():
    before = follow_points(half_lesion(), 0.4, NONE, NONE, SPACING)
    after = follow_points(half_lesion(), 0.4, points((4, 20, 10)), points((4, 20, 30)), SPACING)
    np.testing.assert_array_equal(after, before)


def test_a_correction_ends_within_5_mm_of_its_point():
    place, unsure = np.array([4, 20, 24]), half_lesion().clip(0.3)
    before = follow_points(unsure, 0.5, NONE, NONE, SPACING)
    after = follow_points(unsure, 0.5, points(place), NONE, SPACING)
    changed = np.argwhere((before >= 0) != (after >= 0))
    assert len(changed) > 1, "where the map is unsure, a click marks more than its voxel"
    assert np.linalg.norm((changed - place) * SPACING, axis=1).max() < 5


def test_a_point_beside_the_lesion_next_to_one_on_it():
    on, beside = points((4, 20, 19)), points((4, 20, 18))
    logits = follow_points(half_lesion(), 0.5, on, beside, SPACING)
    assert logits[4, 20, 19] > 0 > logits[4, 20, 18]


def test_points_close_together_never_do_the_opposite():
    """Of two neighbours across the border, the map contradicts one."""
    unsure, pair = half_lesion().clip(0.3, 0.7), points((4, 20, 19), (4, 20, 20))
    before = follow_points(unsure, 0.5, NONE, NONE, SPACING)
    added = follow_points(unsure, 0.5, pair, NONE, SPACING) - before
    taken = follow_points(unsure, 0.5, NONE, pair, SPACING) - before
    assert added.min() == 0 < added.max()
    assert taken.min() < 0 == taken.max()


def test_nothing_changes_between_corrections_far_apart():
    place, other = (4, 20, 22), (4, 20, 39)
    before = follow_points(half_lesion(), 0.5, NONE, NONE, SPACING)
    change = follow_points(half_lesion(), 0.5, points(place, (4, 20, 18), other), NONE, SPACING) - before
    distance = [np.linalg.norm((np.argwhere(change) - one) * SPACING, axis=1) for one in (place, other)]
    assert change.any()
    assert np.min(distance, axis=0).max() < 5


def test_opposite_points_on_one_voxel_and_points_outside_the_map_are_no_error():
    same = points((4, 20, 19))
    logits = follow_points(half_lesion(), 0.5, same, same, SPACING)
    assert np.isfinite(logits).all()
    without = follow_points(half_lesion(), 0.5, NONE, NONE, SPACING)
    outside = points((4, 20, 40), (-1, 0, 0))
    np.testing.assert_array_equal(follow_points(half_lesion(), 0.5, outside, NONE, SPACING), without)


def test_a_click_is_followed_beside_a_long_scribble():
    scribble = np.stack([np.full(501, 4), np.arange(501) % 40, np.arange(501) // 40], 1)
    logits = follow_points(half_lesion(), 0.5, scribble, points((6, 30, 16)), SPACING)
    assert logits[6, 30, 16] < 0


def test_a_long_scribble_is_followed():
    stroke = np.stack([np.full(3000, 4), np.arange(3000) % 40, 20 + np.arange(3000) // 40 % 20], 1)
    logits = follow_points(half_lesion(), 0.5, stroke, NONE, SPACING)
    assert (logits[4, :, 21:38] > 0).mean() > 0.9
