"""Bootstrap over patients."""

import numpy as np

from lib.evaluation.bootstrap import interval_95, patient_resamples


def test_images_of_a_patient_are_drawn_together():
    drawn = patient_resamples(["B", "A", "B", "C"])
    assert np.array_equal(drawn[:, 0], drawn[:, 2])
    assert (drawn[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert not np.array_equal(drawn[:, 0], drawn[:, 1])
    assert np.array_equal(drawn, patient_resamples(["B", "A", "B", "C"]))


def test_interval_holds_95_percent_of_the_values():
    assert interval_95(np.arange(1001)) == [25, 975]
    assert interval_95([]) is None
