"""A case stays on its side of the split whatever else is labelled."""

import pytest

from lib.errors import UserError
from lib.trainers.data_split import share_of, split_cases


def cases(count):
    return [{"image": f"/volumes/{index}.nrrd", "image_id": f"1.2.{index}"} for index in range(count)]


def test_new_cases_move_no_old_one():
    train, validation = split_cases(cases(40), 0.2)
    more_train, more_validation = split_cases(cases(200), 0.2)
    assert all(case in more_train for case in train)
    assert all(case in more_validation for case in validation)
    assert 20 <= len(more_validation) <= 60
    assert len(more_train) + len(more_validation) == 200


@pytest.mark.parametrize(("count", "validated"), [(1, 0), (2, 1)])
def test_few_cases_leave_something_to_train_on(count, validated):
    for val_split in (0.01, 0.99):
        train, validation = split_cases(cases(count), val_split)
        assert (len(train), len(validation)) == (count - validated, validated)


def test_no_validation_when_none_is_wanted():
    assert split_cases(cases(10), 0.0)[1] == []


def test_a_split_case_without_id_goes_by_its_file():
    assert split_cases([{"image": "/a/x.nrrd"}], 0.2) == split_cases([{"image": "/a/x.nrrd"}], 0.2)
    assert share_of("x.nrrd") == share_of("x.nrrd") < 1


def test_no_case_is_refused():
    with pytest.raises(UserError, match="nothing to train on"):
        split_cases([], 0.2)
