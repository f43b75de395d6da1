"""The rule of the gate, with scores made by hand and with simulated ones."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from lib.publishing.gate import PatientScores, Rule, judge, not_measured
from lib.publishing.unlabelled import Marked, with_volumes
from lib.settings import load_info

RULE = Rule(**load_info()["publish"])


def scores(dice, false_findings=None, **changes):
    """Return scores of patients P0, P1 … with one lesion each."""
    false_findings = false_findings or [1.0] * len(dice)
    return {
        f"P{number}": replace(PatientScores(1, 1, int(one >= 0.46), one, findings, 1000), **changes)
        for number, (one, findings) in enumerate(zip(dice, false_findings, strict=True))
    }


def outcome(before, after):
    verdict = judge(after, before, RULE)
    assert verdict.publish is (verdict.outcome == "in use")
    return verdict.outcome, verdict.reason


BEFORE = [0.80, 0.85, 0.90, 0.75, 0.90]


def raised(by, dice=BEFORE):
    return [one + by for one in dice]


def test_better_on_all_of_five_patients_is_published():
    found = outcome(scores(BEFORE), scores(raised(0.02)))
    assert found == ("in use", "In use: better on 5 of 5 patients, Dice 0.84 → 0.86, false findings 1.0 → 1.0.")


def test_better_on_four_of_five_is_published_only_if_the_fifth_hardly_loses():
    """The mean over all signs: 2 of 32 are as large if the fifth is the smallest, which is more than 5 %."""
    kind, reason = outcome(scores(BEFORE), scores([*raised(0.03)[:4], 0.899]))
    assert kind == "kept"
    assert "better on 4 of 5 patients" in reason and "may be chance (p = 0.06)" in reason
    six = [*BEFORE, 0.8]
    assert outcome(scores(six), scores([*raised(0.03, six)[:5], 0.799]))[0] == "in use"


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_fewer_than_five_patients_are_never_enough(count):
    kind, reason = outcome(scores(BEFORE[:count]), scores(raised(0.05, BEFORE[:count])))
    assert kind == "kept"
    assert f"better on {count} of {count} patients" in reason
    assert "too few patients to exclude chance (5 are enough)" in reason


def test_equal_models_are_kept():
    assert outcome(scores(BEFORE), scores(BEFORE))[0] == "kept"


def test_fewer_false_findings_alone_are_a_gain():
    kind, reason = outcome(scores(BEFORE, [2, 2, 3, 2, 1]), scores(BEFORE, [1, 0, 1, 1, 0]))
    assert kind == "in use"
    assert "false findings 2.0 → 0.6" in reason


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (scores(raised(-0.01)), "its Dice is lower by more than 0.005"),
        (scores([*raised(0.2)[:4], 0.1]), "its Dice collapses on P4 (0.90 → 0.10)"),
        (scores(raised(0.01), [2, 2, 2, 2, 2]), "its false findings outweigh its gain in Dice"),
        (scores([math.nan, *BEFORE[1:]]), "the output of the new model is not finite on P0"),
        (scores(BEFORE, marked_voxels=0), "the new model marks nothing on any scan"),
        (scores(raised(0.02)) | scores(raised(0.02)[:1], marked_voxels=0), "the new model marks nothing on P0"),
    ],
)
def test_worse_candidates_are_refused_with_the_reason(after, why):
    kind, reason = outcome(scores(BEFORE), after)
    assert kind == "refused"
    assert reason.startswith(f"Refused: {why}; ")
    assert reason.endswith("The model in use stays.")


def test_nothing_marked_where_the_model_in_use_marks_only_what_is_no_lesion_is_no_collapse():
    before, after = scores([0.0, *BEFORE[1:]]), scores([0.0, *raised(0.02)[1:]], [0, 1, 1, 1, 1])
    after["P0"] = replace(after["P0"], marked_voxels=0)
    assert outcome(before, after)[0] == "in use"


@pytest.mark.parametrize("lesions", [0, 1])
def test_fewer_false_findings_of_a_model_that_marks_no_lesion_are_left_to_a_person(lesions):
    """Also where the model in use misses them all: a model that marks nothing at all has the fewest."""
    before = scores([0.0] * 6, lesions=lesions)
    after = scores([0.0] * 6, [0.0] * 6, lesions=lesions, marked_voxels=0)
    after["P0"] = replace(after["P0"], marked_voxels=lesions)
    kind, reason = outcome(before, after)
    assert kind == "kept" and reason.endswith("; it marks no lesion of these patients.")


def test_lost_lesion_is_refused_even_if_the_mean_rises():
    before, after = scores([0.5, *BEFORE[1:]]), scores([0.4, *raised(0.05)[1:]])
    assert outcome(before, after)[1].startswith("Refused: it finds 4 of 5 lesions, the model in use 5; ")


def test_model_in_use_without_finite_output_decides_nothing():
    kind, reason = outcome(scores([math.nan, *BEFORE[1:]]), scores(BEFORE))
    assert kind == "refused"
    assert "the output of the model in use is not finite on P0" in reason


def test_scan_without_lesion_counts_by_its_false_findings_only():
    """A patient without a lesion has no Dice, which a mean over all would lower."""
    healthy = {"H": PatientScores(1, 0, 0, 0.0, 2.0, 500)}
    verdict = judge(scores(raised(0.02)) | {"H": replace(healthy["H"], false_findings=0.0, marked_voxels=0)},
                    scores(BEFORE) | healthy, RULE)  # fmt: skip
    assert verdict.publish
    assert verdict.published.dice == pytest.approx(np.mean(BEFORE))
    assert "better on 6 of 6 patients" in verdict.reason


def test_without_a_model_in_use_any_that_marks_something_is_published():
    assert judge(scores(BEFORE[:2]), None, RULE).reason == (
        "In use: there was no model before; Dice 0.82, false findings 1.0."
    )
    assert judge(scores([0.0, 0.0], marked_voxels=0), None, RULE).outcome == "refused"


def test_unmeasured_candidate_is_kept_with_what_it_marks_elsewhere():
    marked = [Marked("A", 0.55, 7.02), Marked("B", 2.0, 2.1), Marked("C", 0.0, 3.0)]
    verdict = with_volumes(not_measured("one patient is labelled"), marked)
    assert verdict.outcome == "kept" and not verdict.publish
    assert verdict.reason == (
        "Kept, not in use: it was not measured, because one patient is labelled. "
        "Marked on scans without a label: A 0.6 → 7.0 ml (13 times as much), B 2.0 → 2.1 ml, "
        "C 0.0 → 3.0 ml (nothing before)."
    )


def test_verdict_is_valid_json_without_nan():
    text = json.dumps(judge(scores([math.nan] * 5), scores(BEFORE), RULE).as_dict(), allow_nan=False)
    assert json.loads(text)["candidate"]["dice"] is None


def published_share(patients, change, runs=200):
    """Return the share of simulated candidates that are published.

    The Dice of a patient differs between two models of the same quality by 0.04 (standard deviation), and false
    findings are counts with the same mean of 1.3, independent between models, which is the most they can differ.
    """
    rng = np.random.default_rng(1)
    published = 0
    for _ in range(runs):
        dice = rng.beta(12, 3, patients)
        before = scores(dice.tolist(), rng.poisson(1.3, patients).tolist())
        after = dice + change + rng.normal(0, 0.04, patients)
        published += judge(scores(after.tolist(), rng.poisson(1.3, patients).tolist()), before, RULE).publish
    return published / runs


@pytest.mark.parametrize("patients", [3, 5, 8, 20])
def test_equal_models_are_published_in_at_most_5_percent(patients):
    assert published_share(patients, 0.0) <= 0.05


@pytest.mark.parametrize("patients", [3, 5, 8, 20])
def test_loss_of_0_03_is_published_in_at_most_1_percent(patients):
    assert published_share(patients, -0.03) <= 0.01


def test_gain_of_0_03_is_found_with_20_patients_in_80_percent():
    assert published_share(20, 0.03) >= 0.8
