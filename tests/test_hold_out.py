"""Held-out patients: stable, never trained on, and never all patients."""

from lib.publishing.hold_out import HoldOut, share_of


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
