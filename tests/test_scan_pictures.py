"""Pictures of whole scans, and of slices with outlines."""

import numpy as np
import pytest
from PIL import Image

from lib.evaluation.figures import FOUND_COLOUR, SIDE_PX, TRUTH_COLOUR, outlined_slice
from lib.evaluation.scan_pictures import MarkedScan, write_pictures

SHAPE, SPACING = (60, 60, 8), (2.0, 2.0, 5.0)


def ball(*centre, radius=4):
    return sum((axis - middle) ** 2 for axis, middle in zip(np.ogrid[:60, :60, :8], centre, strict=True)) <= radius**2


def scan(patient, truth, mask):
    hu = np.full(SHAPE, -850, np.float32)
    hu[truth] = 40
    return MarkedScan(patient, hu, truth, mask, SPACING)


def of_colour(pixels, colour):
    return np.argwhere((pixels == colour).all(-1))


def test_outline_is_where_the_mask_is():
    mask = ball(30, 20, 4)
    pixels = outlined_slice(np.zeros(SHAPE, np.float32), 4, ball(30, 30, 4), SPACING, [(mask, FOUND_COLOUR)])
    rows, columns = of_colour(pixels, FOUND_COLOUR).T
    per_mm = SIDE_PX / 82  # 41 pixels of 2 mm
    assert columns.mean() == pytest.approx(SIDE_PX / 2, abs=per_mm)
    assert rows.mean() == pytest.approx(SIDE_PX / 2 - 20 * per_mm, abs=per_mm)  # anterior is above


def test_slice_at_the_edge_of_the_image_is_not_stretched():
    mask = ball(5, 30, 4)
    pixels = outlined_slice(np.zeros(SHAPE, np.float32), 4, mask, SPACING, [(mask, FOUND_COLOUR)])
    height, width = np.ptp(of_colour(pixels, FOUND_COLOUR), axis=0)
    assert width == pytest.approx(height, abs=4)
    assert width == pytest.approx(18 * SIDE_PX / 82, abs=4)


def test_pictures_show_the_outlines_and_the_largest_errors(tmp_path):
    good, partly = ball(30, 30, 4), ball(20, 30, 4, radius=6)
    half = partly & (np.arange(60)[:, None, None] < 20)
    wrong = ball(48, 30, 2, radius=3)
    write_pictures([scan("A", good, good | wrong), scan("B", partly, half)], tmp_path)
    with Image.open(tmp_path / "found.png") as picture:
        found = np.array(picture)
    with Image.open(tmp_path / "missed.png") as picture:
        missed = np.array(picture)
    first, second = found[:SIDE_PX, :SIDE_PX], found[:SIDE_PX, SIDE_PX:]
    assert not len(of_colour(first, TRUTH_COLOUR)), "the mask of A is its reference, so it is drawn over it"
    assert len(of_colour(second, TRUTH_COLOUR)), "half of B is not marked"
    assert found.shape[1] == missed.shape[1] == 2 * SIDE_PX + 2, "two lesions, and two errors"
    missing, false = missed[:SIDE_PX, :SIDE_PX], missed[:SIDE_PX, SIDE_PX + 2 :]
    assert len(of_colour(missing, TRUTH_COLOUR))
    assert len(of_colour(false, FOUND_COLOUR))
    assert not len(of_colour(false, TRUTH_COLOUR)), "no lesion is in this slice"
