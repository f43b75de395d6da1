"""The state of each case in the study list."""

from pathlib import Path
from types import SimpleNamespace

from lib.datastore.catalog import Series
from lib.server.study_states import study_states

TAGS = {
    "1.1": ("final", "initial"),
    "1.2": ("initial",),
    "1.3": ("candidate",),
    "1.4": ("original",),
    "1.5": ("initial",),
}
SKIPPED = {uid: {"reason": "not a chest", "by": "A", "time": 0.0} for uid in ("1.1", "1.5")}


def series(uid: str, study: str = "9.1", *, problem: str | None = None, file: Path | None = None) -> Series:
    return Series(uid, study, {}, 10, problem, file=file)


def states(*found: Series, in_work: tuple[str, ...] = ()) -> dict[str, list[str]]:
    datastore = SimpleNamespace(
        catalog=SimpleNamespace(all=lambda: found),
        labels=SimpleNamespace(current=lambda uid: dict.fromkeys(TAGS.get(uid, ()))),
        skipped=SimpleNamespace(all=lambda: SKIPPED),
        review_of=lambda uid: None,
    )
    return {study: [one["state"] for one in ones] for study, ones in study_states(datastore, in_work).items()}


def test_state_is_that_of_the_label_then_what_the_user_chose_then_what_was_imported():
    found = [series(f"1.{number}") for number in range(1, 7)]
    expected = ["labelled", "imported", "imported", "to do", "skipped", "to do"]
    assert states(*found) == {"9.1": expected}
    assert states(*found, in_work=("1.1", "1.2", "1.6"))["9.1"] == ["labelled", "in work", *expected[2:5], "in work"]


def test_only_series_that_ohif_can_show_have_a_state():
    assert states(series("1.6", "9.2", file=Path("ct.nii")), series("1.7", problem="no slices")) == {}
