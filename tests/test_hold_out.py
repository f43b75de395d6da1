"""Held-out patients: stable, never trained on, and never all patients."""

import json

import pytest

from lib.publishing import ModelStore
from lib.publishing.hold_out import HoldOut, share_of
from lib.publishing.shipped_patients import ShippedPatients
from lib.storage.integrity import DamagedFileError


def patients(count: int) -> list[str]:
    return [f"P{number}" for number in range(count)]


def test_holds_out_at_least_one_patient_once_there_are_enough(tmp_path):
    hold_out = HoldOut(tmp_path / "hold_out.json", fraction=0.01, min_patients=4)
    assert hold_out.patients(patients(3)) == set()
    assert len(hold_out.patients(patients(4))) == 1


def test_held_out_patients_stay_held_out(tmp_path):
    hold_out = HoldOut(tmp_path / "hold_out.json", fraction=0.2, min_patients=2)
    held: set[str] = set()
    for count in range(2, 120):
        now = hold_out.patients(patients(count))
        assert held <= now
        assert now < set(patients(count))
        held = now
    assert 10 <= len(held) <= 40
    assert HoldOut(tmp_path / "hold_out.json", 0.2, 2).patients(patients(119)) == held


def test_training_patients_are_not_held_out_later(tmp_path):
    everyone = patients(60)
    trained_on = {patient for patient in everyone if share_of(patient) < 0.1}
    hold_out = HoldOut(tmp_path / "hold_out.json", fraction=0.2, min_patients=2)
    held = hold_out.patients(everyone, trained_on)
    assert trained_on
    assert not held & trained_on
    assert held


def test_fraction_zero_holds_out_nobody(tmp_path):
    assert HoldOut(tmp_path / "hold_out.json", fraction=0.0, min_patients=2).patients(patients(50)) == set()


def test_choice_does_not_depend_on_the_order(tmp_path):
    one = HoldOut(tmp_path / "one.json", 0.2, 2).patients(patients(30))
    other = HoldOut(tmp_path / "other.json", 0.2, 2).patients(patients(30)[::-1])
    assert one == other


@pytest.fixture
def shipped(tmp_path):
    """Return the shipped weights, trained on all of 60 patients but the last two."""
    weights = tmp_path / "pretrained_lung_tumor.pt"
    weights.write_bytes(b"weights")
    weights.with_suffix(".json").write_text(json.dumps({"trained_on": patients(60)[:-2]}))
    return weights


def test_c10_patients_of_the_shipped_weights_are_never_held_out(tmp_path, shipped):
    """C10: neither by their hash, nor because they were held out before, nor for lack of others."""
    path = tmp_path / "hold_out.json"
    before = HoldOut(path, 0.2, 2).patients(patients(60))
    assert before & set(patients(60)[:-2])
    hold_out = HoldOut(path, 0.2, 2, ShippedPatients(shipped))
    held = hold_out.patients(patients(60), held_before=before)
    assert held and held <= set(patients(60)[-2:])
    assert hold_out.patients(patients(58)) == set()
    assert hold_out.patients(patients(58), trained_on=patients(58), held_before=patients(58)) == set()


def test_c10_all_others_may_be_held_out(tmp_path, shipped):
    """C10: as long as patients of the shipped weights remain to train on."""
    others = [f"N{number}" for number in range(60)]
    hold_out = HoldOut(tmp_path / "hold_out.json", 0.9, 2, ShippedPatients(shipped))
    assert hold_out.patients([*patients(58), *others]) == HoldOut(tmp_path / "x.json", 0.9, 2).patients(others)
    assert hold_out.patients(["P0", "N0"]) == {"N0"}


def test_c10_damaged_list_of_the_shipped_weights_is_reported_and_stops_the_hold_out(tmp_path, shipped):
    hold_out = HoldOut(tmp_path / "hold_out.json", 0.2, 2, ShippedPatients(shipped))
    for content in ("{", "[]", '{"trained_on": "P1"}', '{"trained_on": [1]}', "{}"):
        shipped.with_suffix(".json").write_text(content)
        with pytest.raises(DamagedFileError, match="restored from the release"):
            hold_out.patients(patients(60))
        (damage,) = ModelStore(tmp_path / "models", shipped).damage()
        assert damage.path == shipped.with_suffix(".json")
    shipped.with_suffix(".json").unlink()
    assert hold_out.patients(patients(60))
    assert ModelStore(tmp_path / "models", shipped).damage() == []
