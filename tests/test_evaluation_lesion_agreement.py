"""Lesions of several readers, matched and compared, against values calculated by hand."""

import numpy as np
import pytest

from lib.evaluation.agreement_summary import compare_volumes, summarise_agreement
from lib.evaluation.bland_altman import bland_altman
from lib.evaluation.lesion_agreement import agreement_on_lesions
from lib.evaluation.reader_agreement import compare_conditions, summarise_pairs, summarise_readers
from lib.evaluation.reader_lesions import match_reader_lesions
from lib.evaluation.surface_distance import surface_distance
from lib.evaluation.textures import Texture
from lib.geometry.voxel_grid import VoxelGrid

SHAPE = (40, 20, 10)
SPACING = (0.5, 1.0, 2.0)
GRID = VoxelGrid.from_geometry(SHAPE, (0, 0, 0), SPACING, np.eye(3))


def boxes(*spans, shape=SHAPE):
    """Return a mask of boxes over spans along x, 4 voxels wide in y and 2 in z."""
    mask = np.zeros(shape, bool)
    for start, stop in spans:
        mask[start:stop, 8:12, 4:6] = True
    return mask


def test_overlapping_components_are_one_lesion():
    lesions = match_reader_lesions([boxes((2, 6), (20, 24)), boxes((4, 8)), boxes((30, 34), (22, 26))])
    assert [one.marked.tolist() for one in lesions] == [
        [True, True, False],
        [True, False, True],
        [False, False, True],
    ]
    assert [(one.window[0].start, one.window[0].stop) for one in lesions] == [(2, 8), (20, 26), (30, 34)]
    of_two = boxes((20, 24), (30, 34)), boxes((2, 6), (30, 34))
    for masks in (of_two, of_two[::-1]):
        starts = [one.window[0].start for one in match_reader_lesions(masks)]
        assert starts == [2, 20, 30], "the order tells nobody whose lesions they are"


def test_components_that_only_touch_are_two_lesions():
    assert len(match_reader_lesions([boxes((2, 6)), boxes((6, 10))])) == 2


def test_a_chain_of_overlaps_is_one_lesion():
    """One reader drew as one what another drew as two."""
    (one,) = match_reader_lesions([boxes((2, 6), (8, 12)), boxes((4, 10))])
    assert one.masks[0].sum() == 8 * 8


def test_no_lesion_in_empty_masks_and_no_match_over_other_grids():
    assert match_reader_lesions([boxes(), boxes()]) == []
    with pytest.raises(ValueError, match="not on the same grid"):
        match_reader_lesions([boxes(), boxes(shape=(40, 20, 11))])


def test_surface_distance_in_mm():
    """Two plates, five voxels of 0.5 mm apart; and a plate shifted along z by a slice of 2 mm."""
    assert surface_distance(boxes((2, 3)), boxes((7, 8)), SPACING).hausdorff_95_mm == pytest.approx(2.5)
    assert surface_distance(boxes((2, 3)), boxes((7, 8)), SPACING).mean_mm == pytest.approx(2.5)
    plate, other = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    plate[:, :, 4], other[:, :, 5] = True, True
    assert surface_distance(plate, other, SPACING).mean_mm == pytest.approx(2.0)
    with pytest.raises(ValueError, match="empty"):
        surface_distance(boxes(), plate, SPACING)


def readings():
    """Return what three readers marked: two agree on half of a lesion, one has missed it; all have a second one."""
    masks = {"anna": boxes((2, 6), (20, 24)), "ben": boxes((4, 8), (20, 24)), "carl": boxes((20, 24))}
    ratings = {"anna": [((21, 9, 4), 5)], "ben": [((21, 9, 4), 3)], "carl": [((21, 9, 4), 3)]}
    return agreement_on_lesions("case", "P1", masks, GRID, ratings)


def test_volumes_in_a_tilted_stack_are_those_of_its_voxels():
    masks = {"anna": boxes((20, 24)), "ben": boxes((20, 24))}
    leaning = np.column_stack([(1, 0, 0), (0, 1, 0), (0, np.sqrt(0.75), 0.5)])
    tilted = VoxelGrid.from_geometry(SHAPE, (0, 0, 0), SPACING, leaning)
    (lesion,) = agreement_on_lesions("case", "P1", masks, tilted)
    assert lesion.volumes_mm3 == dict.fromkeys(masks, 0.5 * masks["anna"].sum())


def test_agreement_on_each_lesion():
    first, second = readings()
    assert (first.detection, second.detection) == (pytest.approx(2 / 3), 1)
    assert [(pair.first, pair.second) for pair in first.pairs] == [("anna", "ben")]
    assert (first.pairs[0].dice, second.mean_of_pairs("dice")) == (pytest.approx(0.5), 1)
    assert first.volumes_mm3 == {"anna": 32.0, "ben": 32.0}
    assert (first.texture, second.texture) == (None, Texture.PART_SOLID)
    assert 4 <= first.voxel[0] < 6  # where both marked it
    with pytest.raises(ValueError, match="two or more readers"):
        agreement_on_lesions("case", "P1", {"anna": boxes()}, GRID)


def test_summary_of_all_sizes_and_textures():
    rows = {row["class"]: row for row in summarise_agreement(readings())}
    assert list(rows) == ["all", "under 6 mm", "part-solid"]
    assert rows["all"]["marked_by"] == {"2 of 3": 1, "3 of 3": 1}
    assert rows["all"]["dice"] == {"mean": pytest.approx(0.75), "interval_95": None}
    assert rows["all"]["detection"]["mean"] == pytest.approx(5 / 6)
    assert rows["part-solid"]["surface_mm"]["mean"] == 0
    assert summarise_agreement([]) == []


def test_intervals_over_patients():
    lesions = []
    for number in range(8):
        masks = {"anna": boxes((2, 10)), "ben": boxes((2 + number % 3, 10))}
        lesions += agreement_on_lesions(f"case {number}", f"P{number}", masks, GRID)
    (row,) = (row for row in summarise_agreement(lesions) if row["class"] == "all")
    for measure in ("dice", "kappa"):
        low, high = row[measure]["interval_95"]
        assert low < row[measure]["mean"] < high
    (pair,) = compare_volumes(lesions)
    assert (pair["first"], pair["second"], pair["lesions"]) == ("anna", "ben", 8)
    assert pair["mm3"]["bias"] == pytest.approx(8 * np.mean([number % 3 for number in range(8)]))


def test_bland_altman_by_hand():
    found = bland_altman([110, 210, 310, 430], [100, 200, 300, 400], ["P1", "P2", "P3", "P4"])
    deviation = np.std([10, 10, 10, 30], ddof=1)
    assert found.mm3.bias == pytest.approx(15)
    assert (found.mm3.low, found.mm3.high) == (
        pytest.approx(15 - 1.96 * deviation),
        pytest.approx(15 + 1.96 * deviation),
    )
    assert found.percent.bias == pytest.approx(np.mean([1000 / 105, 1000 / 205, 1000 / 305, 3000 / 415]))
    assert found.mm3.intervals is None  # four patients
    assert found.slope > 0
    assert bland_altman([1, 2], [1, 2], ["P1", "P2"]) is None


def test_proportional_bias_is_the_slope():
    second = np.array([100.0, 200, 400, 800, 900])
    found = bland_altman(second * 1.2, second, ["P1", "P2", "P3", "P4", "P5"])
    assert found.slope == pytest.approx(0.2 / 1.1)
    assert found.percent.intervals["bias"] == pytest.approx([100 * 0.2 / 1.1] * 2, abs=1e-3)


def lesions_of_patients(dice, missed=()):
    """Return a lesion of each patient, with the overlap of two readers given in voxels of ten; some missed by ben."""
    found = []
    for number, overlap in enumerate(dice):
        masks = {"anna": boxes((2, 12)), "ben": boxes() if number in missed else boxes((12 - overlap, 22 - overlap))}
        found += agreement_on_lesions(f"1.{number}", f"P{number}", masks, GRID)
    return found


def test_each_reader_and_each_two_are_compared_over_patients():
    lesions = lesions_of_patients([8, 8, 6, 9, 7, 8], missed=[0])
    anna, ben = summarise_readers(lesions)
    assert (anna["lesions"], anna["alone"], anna["detection"]) == (6, 1, {"mean": 1.0, "interval_95": None})
    assert (ben["alone"], round(ben["detection"]["mean"], 3)) == (0, 0.833)
    (pair,) = summarise_pairs(lesions)
    assert (pair["first"], pair["second"], pair["lesions"], pair["patients"]) == ("anna", "ben", 5, 5)
    assert pair["dice"]["mean"] == pytest.approx(0.76) == anna["dice"]["mean"]
    assert pair["dice"]["interval_95"][0] < 0.76 < pair["dice"]["interval_95"][1]


def test_conditions_are_compared_within_each_patient():
    before, after = lesions_of_patients([3, 5, 7, 9, 2, 4]), lesions_of_patients([4, 6, 8, 9, 3, 5])
    seconds = {"without": [("P0", 100.0), ("P0", 80.0), ("P1", 60.0)], "with": [("P0", 70.0), ("P1", 50.0)]}
    rows = {row["measure"]: row for row in compare_conditions({"without": before, "with": after}, seconds)}
    assert rows["dice"]["mean"] == pytest.approx(0.5 / 6)  # each of five patients gains 0.1
    assert rows["dice"]["interval_95"][0] > 0  # although Dice differs much more between the patients
    assert rows["detection"] == {"measure": "detection", "patients": 6, "mean": 0.0, "interval_95": None}
    assert (rows["active_seconds"]["mean"], rows["active_seconds"]["patients"]) == (-15.0, 2)
    assert compare_conditions({"without": before}, seconds) == []
