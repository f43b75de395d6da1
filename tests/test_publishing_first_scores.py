"""The score of the model in use on each new label, from what was changed in its mask."""

from types import SimpleNamespace

import pytest

from lib.datastore.label_record import LabelRecord
from lib.publishing.first_scores import first_scores


def label(image, number, time, changes, version="v1", tag="final"):
    named = None if changes is None else dict(zip(("kept", "added", "removed"), changes, strict=True))
    return LabelRecord(image, number, tag, time, "0" * 64, {"changes": named, "model_version": version})


def scores(*records, versions=(), shipped=()):
    store = SimpleNamespace(history=lambda image: [one for one in records if one.image_id == image])
    patients = {record.image_id: f"P-{record.image_id}" for record in records}
    return first_scores(store, patients, versions, set(shipped))


def test_first_label_of_each_image_is_scored_in_order_of_time():
    found = scores(label("B", 1, 20.0, (80, 20, 20)), label("A", 1, 10.0, (0, 50, 0)), label("B", 2, 30.0, (100, 0, 0)))
    assert [(one.image_id, one.dice) for one in found] == [("A", 0.0), ("B", pytest.approx(0.8))]


def test_empty_mask_that_was_right_scores_1():
    assert [one.dice for one in scores(label("A", 1, 1.0, (0, 0, 0)))] == [1.0]


def test_labels_without_a_model_and_initial_ones_have_no_score():
    assert scores(label("A", 1, 1.0, None), label("B", 1, 1.0, (1, 1, 1), version=None)) == []
    imported, corrected = label("A", 1, 1.0, (9, 0, 0), tag="initial"), label("A", 2, 2.0, (1, 1, 1))
    assert [one.time for one in scores(imported, corrected)] == [2.0]


def test_version_is_not_scored_on_patients_it_was_trained_on():
    records = [
        label(image, 1, 1.0, (1, 0, 0), version) for image, version in (("A", "v1"), ("B", "v1"), ("C", "pretrained"))
    ]
    versions = [{"version": "v1", "trained_on": ["P-A"]}]
    assert [one.image_id for one in scores(*records, versions=versions)] == ["B", "C"]
    assert [one.image_id for one in scores(*records, versions=versions, shipped=["P-C"])] == ["B"]
