"""The study file, who reads what, and what is due."""

from collections import Counter
from itertools import combinations

import pytest

from lib.reading.assignment import readers_of_cases
from lib.reading.reading_list import StudyPlan
from lib.reading.study_file import Study, read_study
from lib.settings import SettingsError

DAY = 24 * 3600
TEXT = """
name: nodules
readers: [anna, ben, carl]
cases: ["1.2.3", "1.2.4"]
"""


def study(**values):
    cases = [f"1.2.{number}" for number in range(20)]
    return Study(**{"name": "nodules", "readers": ["anna", "ben", "carl", "dora"], "cases": cases, **values})


def test_defaults(tmp_path):
    (tmp_path / "study.yaml").write_text(TEXT)
    found = read_study(tmp_path / "study.yaml")
    assert (found.readers_per_case, found.order, found.model_mask, found.sessions) == (None, "random", "without", (1,))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("reader: [eve]", "study.yaml: reader is not known. Did you mean readers? Known: ask, cases, click_tool, "),
        ("order: shuffled", "study.yaml: order must be random or listed, not 'shuffled'."),
        ("model_mask: maybe", "study.yaml: model_mask must be with or without or crossover, not 'maybe'."),
        ("washout_days: -1", "study.yaml: washout_days must be a number from 0 to 3650, not -1."),
        ("readers_per_case: 0", "study.yaml: readers_per_case must be a whole number from 1 to 200 or null, not 0."),
        ("readers_per_case: 4", "study.yaml: readers_per_case must be at most 3, the number of readers, not 4."),
        ("reviewers: [ben]", "study.yaml: reviewers must not be readers of the same study: ben."),
        ("reviewers: [eve, eve]", "study.yaml: reviewers must name each once; given twice: eve."),
        (
            "ask: [shape]",
            "study.yaml: ask must be a list of 0 to 2 values, each texture or note, but contains 'shape'.",
        ),
        ("seed: 1.5", "study.yaml: seed must be a whole number from 0 to 4294967295, not 1.5."),
        ("consensus: mean", "study.yaml: consensus must be majority or staple, not 'mean'."),
        ("name: again", "study.yaml is not YAML in line 2, column 1: name is given twice in one section."),
    ],
)
def test_invalid_files_are_refused_in_one_sentence(tmp_path, change, sentence):
    (tmp_path / "study.yaml").write_text(TEXT + change + "\n")
    with pytest.raises(SettingsError) as error:
        read_study(tmp_path / "study.yaml")
    (told,) = str(error.value).splitlines()
    assert told.startswith(sentence), told


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.yaml cannot be read: No such file or directory"):
        read_study(tmp_path / "none.yaml")


@pytest.mark.parametrize("readers_per_case", [1, 2, 3])
def test_cases_are_balanced(readers_per_case):
    assigned = readers_of_cases(study(readers_per_case=readers_per_case, seed=3))
    assert {len(readers) for readers in assigned.values()} == {readers_per_case}
    cases_of = Counter(reader for readers in assigned.values() for reader in readers)
    assert max(cases_of.values()) - min(cases_of.values()) <= 1
    if readers_per_case == 2:
        common = Counter(pair for readers in assigned.values() for pair in combinations(sorted(readers), 2))
        assert len(common) == 6 and max(common.values()) - min(common.values()) <= 2


def test_cases_added_at_the_end_change_nothing():
    few, more = study(readers_per_case=2), study(readers_per_case=2, cases=[f"1.2.{number}" for number in range(30)])
    assert readers_of_cases(few).items() <= readers_of_cases(more).items()
    mask_of = {
        name: {(one.case, one.session): one.model_mask for one in StudyPlan(kind).readings("anna")}
        for name, kind in (
            ("few", few.model_copy(update={"model_mask": "crossover"})),
            ("more", more.model_copy(update={"model_mask": "crossover"})),
        )
    }
    assert mask_of["few"].items() <= mask_of["more"].items()


def test_order_is_random_for_each_reader_and_always_the_same():
    one = study(seed=1)
    orders = {reader: [reading.case for reading in StudyPlan(one).readings(reader)] for reader in one.readers}
    assert len({*map(tuple, orders.values()), tuple(one.cases)}) == 5
    assert all(sorted(order) == sorted(one.cases) for order in orders.values())
    assert [reading.case for reading in StudyPlan(study(seed=1)).readings("anna")] == orders["anna"]
    assert [reading.case for reading in StudyPlan(study(seed=2)).readings("anna")] != orders["anna"]
    assert [reading.case for reading in StudyPlan(study(order="listed")).readings("anna")] == one.cases
    # A pinned order: a study must go on after an update of this app.
    assert orders["anna"][:3] == ["1.2.3", "1.2.12", "1.2.2"]


def test_crossover_shows_the_mask_once_for_each_case():
    found = StudyPlan(study(model_mask="crossover")).readings("anna")
    assert [reading.session for reading in found] == [1] * 20 + [2] * 20
    assert sum(reading.model_mask for reading in found[:20]) == 10
    shown = {(reading.case, reading.model_mask) for reading in found}
    assert len(shown) == 40
    assert {reading.model_mask for reading in StudyPlan(study(model_mask="with")).readings("anna")} == {True}


def test_second_reading_is_due_after_the_washout():
    one = study(model_mask="crossover", cases=["1.2.3"], washout_days=10)
    plan = StudyPlan(one)
    first, second = plan.readings("anna")
    assert plan.due("anna", {}, now=0) == [first]
    submitted = {("1.2.3", 1): 100.0}
    for now in (100.0, 100.0 + 10 * DAY - 1):
        assert plan.due("anna", submitted, now) == []
        assert plan.current("anna", "1.2.3", submitted, now) is None
    assert plan.due("anna", submitted, 100.0 + 10 * DAY) == [second]
    both = {**submitted, ("1.2.3", 2): 1e7}
    assert plan.due("anna", both, 2e7) == []
    assert plan.current("anna", "1.2.3", both, 2e7) == second


def test_a_submitted_reading_can_be_corrected_and_cases_of_others_are_closed():
    plan = StudyPlan(study(readers_per_case=2))
    assigned = plan.readers_of_cases
    mine = next(case for case, readers in assigned.items() if "anna" in readers)
    other = next(case for case, readers in assigned.items() if "anna" not in readers)
    assert plan.current("anna", mine, {(mine, 1): 5.0}, 6.0).case == mine
    assert plan.current("anna", other, {}, 6.0) is None
    assert mine not in [reading.case for reading in plan.due("anna", {(mine, 1): 5.0}, 6.0)]
    assert plan.readings("a stranger") == []
