"""What the panel is told about trainings."""

import time
from types import SimpleNamespace

import pytest
from monailabel.endpoints.user.auth import DEFAULT_USER

from lib.reading.preference_answers import Answer, Answers
from lib.server import viewer_routes
from lib.server.training_text import describe_training

BEFORE = {"epoch": 20, "total_epochs": 20, "updated": time.time() - 3600}
VERDICT = {"verdict": {"reason": "Refused: worse."}}


@pytest.fixture
def ask(monkeypatch, tmp_path):
    """Return ``ask(status, stats)``: the answer while the last task has a status and there are statistics."""

    def call(status: str, stats: dict) -> dict:
        begun = time.strftime("%Y-%m-%d %H:%M:%S")
        task = {"status": status, "start_ts": begun, "details": ["ValueError: no."], "request": {"model": "lung_tumor"}}
        monkeypatch.setattr(viewer_routes, "tasks", lambda _: [task])
        app = SimpleNamespace(
            info=lambda: {
                "train_stats": {"lung_tumor": stats},
                "datastore": {"total": 1, "completed": 1},
                "model_version": "v1",
                "model_problem": None,
            },
            configs={"lung_tumor": SimpleNamespace(store=store)},
            datastore=lambda: SimpleNamespace(catalog=SimpleNamespace(all=list), labels=None),
            damage=list,
            settings=SimpleNamespace(workspace=tmp_path),
        )
        routes = viewer_routes.viewer_router(app).routes
        status = next(route.endpoint for route in routes if route.path == "/viewer/status")
        return status(SimpleNamespace(state=SimpleNamespace()), DEFAULT_USER)

    manifest = {"version": "v2", "time": 1.0, **VERDICT}
    store = SimpleNamespace(
        manifests=lambda: [manifest], serving_version=lambda: "v1", previous_version=lambda: "pretrained"
    )
    return call


def test_training_is_being_prepared_until_it_writes_its_own_progress(ask):
    preparing = {"epoch": None, "total_epochs": None, "text": "Preparing the training…"}
    assert ask("RUNNING", BEFORE)["training"] == preparing, "the progress of a training that was stopped"
    assert ask("RUNNING", {**BEFORE, **VERDICT})["training"] == preparing
    now = {"epoch": 3, "total_epochs": 20, "updated": time.time() + 1}
    text = "Training: epoch 3 of 20 done"
    assert ask("RUNNING", now)["training"] == {"epoch": 3, "total_epochs": 20, "text": text}
    assert ask("RUNNING", now)["verdict"] == "Refused: worse."


def test_verdict_that_counted_stays_after_a_stop_or_a_failure(ask):
    stopped = ask("STOPPED", {**BEFORE, "updated": time.time() + 1})
    assert stopped["training"] is None
    assert stopped["interrupted"].startswith("Stopped before it was complete.")
    assert stopped["verdict"] == "Refused: worse."
    assert ask("ERROR", BEFORE)["interrupted"].startswith("Failed: no.")
    assert ask("DONE", {**BEFORE, **VERDICT})["interrupted"] is None
    kept = {"version": "v2", "verdict": "not measured"}
    (versions,) = ask("DONE", BEFORE)["versions"]
    assert versions == {"model": "lung_tumor", "in_use": "v1", "kept": kept, "previous": "pretrained"}


def test_what_blinded_readers_prefer_stands_beside_the_verdict(ask, tmp_path):
    judged = ("nodules", "anna", "1.2", "P1", 1, "v2", "v1", "first", "first", (1, 2), 500.0, 5.0, 1.0)
    Answers(tmp_path, "nodules").add(Answer(*judged))
    (sentence,) = ask("DONE", {**BEFORE, **VERDICT})["preferences"]
    assert sentence.startswith("Blinded readers (nodules): v2 better in 1, v1 better in 0, equal in 0 of 1 judgements")
    Answers(tmp_path, "older").add(Answer("older", *judged[1:5], "v0", "label", *judged[7:]))
    assert len(ask("DONE", {**BEFORE, **VERDICT})["preferences"]) == 1  # of versions that can be chosen here


@pytest.mark.parametrize(
    ("stats", "text"),
    [
        ({}, "Preparing the training…"),
        ({"epoch": 0, "total_epochs": 20}, "Preparing the training…"),
        ({"epoch": 5, "total_epochs": 20, "seconds_left": 44.0}, "Training: epoch 5 of 20 done, about a minute left"),
        ({"epoch": 5, "total_epochs": 20, "seconds_left": 1000}, "Training: epoch 5 of 20 done, about 17 minutes left"),
        (
            {"epoch": 20, "total_epochs": 20, "seconds_left": 0},
            "Training: the new model is compared with the one in use",
        ),
        (
            {"epoch": 20, "total_epochs": 20, "measured": 2, "to_measure": 6, "measured_dice": 0.8372},
            "Training: the new model is compared with the one in use, 2 of 6 measurements done; "
            "Dice of the new model 0.84 so far",
        ),
    ],
)
def test_progress_of_a_training_tells_epochs_time_and_dice(stats, text):
    assert describe_training(stats) == text
