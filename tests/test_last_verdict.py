"""The verdict that stays although a later training was stopped."""

from types import SimpleNamespace

import pytest

from lib.publishing.last_verdict import last_verdict


def store(*verdicts: tuple[float, str | None]) -> SimpleNamespace:
    """Return a store of versions with the time and the reason of the verdict of each."""
    manifests = [{"time": time, "verdict": reason and {"reason": reason}} for time, reason in verdicts]
    return SimpleNamespace(manifests=lambda: manifests, serving_version=lambda: None)


def test_verdict_of_the_last_completed_training_stays_while_another_runs_or_is_stopped():
    stores = {"lung_tumor": store((1.0, "Refused: worse."), (3.0, None)), "lung_tumor_click": store((2.0, "Kept."))}
    running = {"lung_tumor": {"epoch": 3, "updated": 9.0}}
    assert last_verdict(running, stores) == "lung_tumor_click: Kept."
    compared = {"lung_tumor": {"updated": 5.0, "verdict": {"reason": "In use: better."}}}
    assert last_verdict(compared, stores) == "In use: better."
    assert last_verdict({}, {"lung_tumor": store()}) is None


def test_verdict_on_the_last_version_counts_though_the_clock_went_back():
    assert last_verdict({}, {"lung_tumor": store((3.0, "Kept."), (1.0, "In use: better."))}) == "In use: better."


@pytest.mark.parametrize("in_stats", [True, False])
def test_verdict_tells_if_a_person_has_chosen_otherwise_since(in_stats):
    """The panel said "Kept, not in use" of the version that it showed as the model in use."""

    def told(serving: str, verdict: dict) -> str | None:
        made = {"version": "v2", "verdict": verdict}
        versions = [] if in_stats else [{**made, "time": 1.0}]
        stores = {"lung_tumor": SimpleNamespace(manifests=lambda: versions, serving_version=lambda: serving)}
        return last_verdict({"lung_tumor": made} if in_stats else {}, stores)

    kept = {"publish": False, "reason": "Kept, not in use: better."}
    assert told("v1", kept) == "Kept, not in use: better."
    chosen = "Version v2 is in use now, because a person chose it. The result was: Kept, not in use: better."
    assert told("v2", kept) == chosen
    published = {"publish": True, "reason": "In use: better."}
    assert told("v2", published) == "In use: better."
    assert told("v1", published) == "Version v2 is no longer in use. The result was: In use: better."
