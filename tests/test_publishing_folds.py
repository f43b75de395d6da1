"""Folds of patients: stable, balanced, and without anybody whom the weights have seen."""

import json

import pytest

from lib.publishing import ModelStore
from lib.publishing.folds import Folds
from lib.publishing.measurement import unseen
from lib.publishing.shipped_patients import ShippedPatients
from lib.storage.integrity import DamagedFileError


def patients(count: int) -> list[str]:
    return [f"P{number}" for number in range(count)]


def test_patients_stay_in_their_fold_as_labels_arrive(tmp_path):
    folds = Folds(tmp_path / "folds.json")
    known: dict[str, int] = {}
    for count in range(1, 40):
        now = folds.assign(patients(count), 5)
        assert known.items() <= now.items()
        sizes = [list(now.values()).count(fold) for fold in set(now.values())]
        assert max(sizes) - min(sizes) <= 1
        known = now
    assert Folds(tmp_path / "folds.json").assign(patients(39)[::-1], 5) == known


def test_first_patients_are_in_different_folds(tmp_path):
    assert sorted(Folds(tmp_path / "folds.json").assign(patients(3), 5).values()) == [0, 1, 2]


def test_no_more_than_30_patients_judge(tmp_path):
    folds = Folds(tmp_path / "folds.json")
    assert len(folds.assign(patients(100), 5)) == 30
    assert folds.assign(patients(200), 5) == folds.assign(patients(100), 5)


def test_without_folds_nobody_is_left_out(tmp_path):
    assert Folds(tmp_path / "folds.json").assign(patients(50), 0) == {}


def test_patients_of_versions_without_folds_never_judge(tmp_path):
    """A version of an older release was trained on them, and others may descend from it."""
    folds = Folds(tmp_path / "folds.json")
    assert "P3" in folds.assign(patients(6), 5)
    assert folds.assign(patients(6), 5, [{"trained_on": ["P3"]}]).keys() == {*patients(6)} - {"P3"}


@pytest.fixture
def shipped(tmp_path):
    """Return the shipped weights, trained on all of 60 patients but the last two."""
    weights = tmp_path / "pretrained_lung_tumor.pt"
    weights.write_bytes(b"weights")
    weights.with_suffix(".json").write_text(json.dumps({"trained_on": patients(60)[:-2]}))
    return weights


def test_c10_patients_of_the_shipped_weights_are_in_no_fold(tmp_path, shipped):
    """C10: also those that were in one before the shipped weights were replaced."""
    path = tmp_path / "folds.json"
    before = Folds(path).assign(patients(10), 5)
    folds = Folds(path, ShippedPatients(shipped))
    assert folds.assign(patients(60), 5, [{"trained_on": [], "folds": before}]).keys() == {"P58", "P59"}
    assert folds.assign(patients(58), 5) == {}


def test_c10_damaged_list_of_the_shipped_weights_is_reported_and_stops_the_assignment(tmp_path, shipped):
    folds = Folds(tmp_path / "folds.json", ShippedPatients(shipped))
    for content in ("{", "[]", '{"trained_on": "P1"}', '{"trained_on": [1]}', "{}"):
        shipped.with_suffix(".json").write_text(content)
        with pytest.raises(DamagedFileError, match="restored from the release"):
            folds.assign(patients(60), 5)
        (damage,) = ModelStore(tmp_path / "models", shipped).damage()
        assert damage.path == shipped.with_suffix(".json")
    shipped.with_suffix(".json").unlink()
    assert folds.assign(patients(60), 5)
    assert ModelStore(tmp_path / "models", shipped).damage() == []


FOLDS = {"A": 0, "B": 1, "C": 2}


@pytest.mark.parametrize(
    ("version", "kept", "expected"),
    [
        (None, (), {"A", "B", "C"}),
        ({"trained_on": ["A", "B"], "folds": {"A": 0, "B": 1}}, (0, 1), {"A", "B", "C"}),
        ({"trained_on": ["A", "B"], "folds": {"A": 0, "B": 1}}, (1,), {"B", "C"}),  # file lost
        ({"trained_on": ["A", "B"], "folds": {"B": 1}}, (0, 1), {"B", "C"}),  # seen by its parent
        ({"trained_on": ["A", "B"], "folds": {"A": 1, "B": 1}}, (0, 1), {"B", "C"}),  # in another fold then
        ({"trained_on": ["A", "B", "C"]}, (), set()),  # of an older release
    ],
)
def test_version_is_measured_only_on_patients_that_its_weights_have_not_seen(version, kept, expected):
    assert unseen(version, {fold: f"fold-{fold}.pt" for fold in kept}, FOLDS).keys() == expected


def test_weights_of_the_folds_are_kept_verified_and_adopted(tmp_path):
    store = ModelStore(tmp_path / "models")
    for name in ("all", "0", "1"):
        (tmp_path / name).write_bytes(name.encode())
    version = store.keep(tmp_path / "all", {"folds": {"A": 0}}, {0: tmp_path / "0", 1: tmp_path / "1"})
    assert {fold: path.read_bytes() for fold, path in store.fold_weights(version).items()} == {0: b"0", 1: b"1"}
    other = ModelStore(tmp_path / "other")
    other.adopt(store.weights(version).parent, store.manifest(version))
    assert other.fold_weights(version).keys() == {0, 1}
    store.fold_weights(version)[0].write_bytes(b"damaged")
    assert store.fold_weights(version).keys() == {1}
    assert store.fold_weights("pretrained") == {}


def test_training_without_folds_affects_only_the_versions_made_from_it(tmp_path):
    everyone = patients(3)
    folds = Folds(tmp_path / "folds.json").assign(everyone, 5)
    unmeasured = {"trained_on": everyone, "folds": {}}
    assert Folds(tmp_path / "folds.json").assign(everyone, 5, [unmeasured]) == folds
    assert unseen(unmeasured, {}, folds) == {}
    assert unseen(None, {}, folds) == folds


def test_image_file_of_the_name_of_one_trained_on_never_judges(tmp_path, shipped):
    """A patient named by a path: offline training knew only the file name."""
    (known, *_) = sorted(ShippedPatients(shipped).read())
    folds = Folds(tmp_path / "folds.json", ShippedPatients(shipped))
    assert folds.assign([f"images/{known}", "one/ct", "two/ct"], 5).keys() == {"one/ct", "two/ct"}
    assert unseen({"trained_on": ["ct"], "folds": {}}, {}, {"one/ct": 0, "other": 1}) == {"other": 1}
