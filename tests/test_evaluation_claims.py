"""Claims of the paper, checked on results made by hand."""

import pytest

from lib.evaluation.cases import CaseResult
from lib.evaluation.claims import Outcome, check_claims, html, markdown
from lib.evaluation.metrics import MatchedLesion, VoxelCounts

PATIENTS = 12


def results(dice_of_patient):
    """Return a result for each patient with about the given Dice."""
    cases = []
    for number in range(PATIENTS):
        hit = round(1000 * dice_of_patient(number))
        counts = VoxelCounts(hit, 100_000, 1000 - hit, 1000 - hit)
        lesion = MatchedLesion(8.0, counts.iou, counts.dice)
        cases.append(CaseResult(f"case {number}", f"patient {number}", counts, [lesion], 0, {}))
    return cases


def outcome(before, after, claim, measure):
    rows = check_claims({"unet": [before], "hybrid": [after], "crf": [after]})
    (row,) = [row for row in rows if (row["claim"], row["measure"]) == (claim, measure)]
    return row


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        (lambda number: 0.05, Outcome.HOLDS),
        (lambda number: -0.05, Outcome.OPPOSITE),
        (lambda number: 0.05 if number % 2 else -0.05, Outcome.UNDECIDED),
    ],
)
def test_a_claim_holds_if_the_interval_of_the_difference_is_on_its_side(gain, expected):
    before = results(lambda number: 0.5 + number / 100)
    after = results(lambda number: 0.5 + number / 100 + gain(number))
    row = outcome(before, after, "the whole method against the U-Net", "dice")
    assert row["outcome"] == expected.value
    assert row["paper"] == 0.07
    assert row["difference"] == pytest.approx(sum(map(gain, range(PATIENTS))) / PATIENTS)


def test_fewer_false_findings_are_better():
    same = results(lambda number: 0.5)
    fewer = [CaseResult(c.name, c.patient, c.counts, c.lesions, 0, {}) for c in same]
    more = [CaseResult(c.name, c.patient, c.counts, c.lesions, 2, {}) for c in same]
    rows = check_claims({"hybrid": [more], "second_stage": [fewer]})
    found = {row["measure"]: row["outcome"] for row in rows}
    assert found == {"false_positives_per_scan": "holds", "lesion_recall": "not shown"}


def test_what_was_not_measured_is_said():
    same = results(lambda number: 0.5)
    rows = check_claims({"unet": [same], "hybrid": [same]})
    (robustness,) = [row for row in rows if row["measure"] == "robustness_std"]
    assert robustness["outcome"] == "not measured"
    assert "| not measured |" in markdown(rows)
    assert "not measured" in html(rows)


def test_only_seeds_that_both_variants_have_are_compared():
    low, high = results(lambda number: 0.5), results(lambda number: 0.6)
    rows = check_claims({"unet": [low, low], "hybrid": [high]})
    assert {row["seeds"] for row in rows} == {1}


def test_results_survive_a_file():
    for case in results(lambda number: 0.4):
        assert CaseResult.from_json(case.to_json()) == case
