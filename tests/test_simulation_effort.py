"""Strokes that correct a mask, counted by hand; the pixels are of 1.25 mm, so a stroke is two pixels wide."""

import json

import numpy as np
import pytest

from lib.simulation.effort import clicks_until_goal, strokes, strokes_or_clicks

PIXEL_MM = 1.25


def mask(*boxes):
    """Return a mask of 20 × 20 pixels in 4 slices; a box is two corners in the plane and the slices."""
    voxels = np.zeros((20, 20, 4), bool)
    for (left, top), (right, bottom), (first, last) in boxes:
        voxels[left:right, top:bottom, first:last] = True
    return voxels


LESION = ((5, 5), (11, 11), (0, 3))


def test_right_mask_needs_no_stroke():
    assert strokes(mask(LESION), mask(LESION), PIXEL_MM) == 0


def test_missed_lesion_is_drawn_slice_by_slice():
    assert strokes(mask(), mask(LESION), PIXEL_MM) == 3


def test_missed_part_and_false_finding_are_a_stroke_in_each_of_their_slices():
    found = mask(((5, 5), (8, 11), (0, 2)), ((5, 5), (11, 11), (2, 3)), ((15, 15), (18, 18), (3, 4)))
    assert strokes(found, mask(LESION), PIXEL_MM) == 2 + 1


def test_adding_and_erasing_side_by_side_are_two_strokes():
    lesion, found = mask(((5, 5), (11, 11), (0, 4))), mask(((5, 5), (8, 11), (0, 1)), ((5, 5), (11, 11), (1, 4)))
    found[8:14, 11:14, 0] = True
    assert strokes(found, lesion, PIXEL_MM) == 2


def test_rim_of_one_pixel_is_left_as_it_is():
    assert strokes(mask(((4, 4), (12, 12), (0, 3))), mask(LESION), PIXEL_MM) == 0
    assert strokes(mask(((3, 3), (13, 13), (0, 3))), mask(LESION), PIXEL_MM) == 3
    assert strokes(mask(((4, 4), (12, 12), (0, 3))), mask(LESION), PIXEL_MM / 2) == 0
    assert strokes(mask(((4, 4), (12, 12), (0, 3))), mask(LESION), PIXEL_MM * 2) == 3


def test_mask_with_many_false_findings_is_cleared_and_drawn_again():
    many = [((left, top), (left + 2, top + 2), (0, 4)) for left in (0, 14, 18) for top in (0, 4, 8, 12, 16)]
    assert strokes(mask(*many), mask(LESION), PIXEL_MM) == 1 + 3
    assert strokes(mask(*many), mask(), PIXEL_MM) == 1


def test_clicks_are_the_effort_where_they_suffice_and_are_fewer(tmp_path):
    lesions = [("one", [0.7, 0.85]), ("two", [0.9, 0.95]), ("two", [0.1, 0.9]), ("never", [0.5, 0.84])]
    cases = [{"name": name, "dice": dice} for name, dice in lesions]
    content = {"models": {"shipped": {"goal": 0.85}}, "cases": {"shipped": cases}}
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    clicks = clicks_until_goal(tmp_path / "metrics.json")
    assert clicks == {"one": 2, "two": 3, "never": None}
    entry = {"picked": ["one", "two", "never", "one"], "strokes": [5, 4, 9, 1], "dice": 0.5}
    assert strokes_or_clicks(entry, clicks) == entry | {"strokes": [2, 3, 9, 1]}
    start = {"picked": ["unknown"], "strokes": []}
    assert strokes_or_clicks(start, clicks) == start
    with pytest.raises(KeyError):
        strokes_or_clicks({"picked": ["unknown"], "strokes": [3]}, clicks)
