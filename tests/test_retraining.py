"""Automatic start of a training, and recovery of an interrupted one."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from lib.errors import UserError
from lib.publishing import ModelStore
from lib.trainers.retraining import Retraining
from lib.trainers.unfinished_run import Run, UnfinishedRun


class Server:
    """A server as seen by Retraining: labels, versions, and trainings that end on request."""

    def __init__(self, folder: Path, after: int = 0, models: tuple[str, ...] = ("lung_tumor",)) -> None:
        self.labels: dict[str, str] = {}
        self.status: str | None = None
        self.started: list[dict] = []
        self.models_started: list[str] = []
        self.stores = {name: ModelStore(folder / name) for name in models}
        self.store = self.stores[models[0]]
        self.note = folder / "workspace" / "training.json"
        self.retraining = Retraining(
            after,
            labels=lambda: dict(self.labels),
            stores=self.stores,
            unfinished=UnfinishedRun(self.note),
            status=lambda: self.status,
            start=self._start,
        )
        self._folder = folder

    def _start(self, model: str, params: dict) -> None:
        self.started.append(params)
        self.models_started.append(model)
        self.status = "RUNNING"

    def look(self) -> bool:
        return self.retraining.start_if_due()

    def finish(self, labels: dict[str, str], model: str = "lung_tumor", **manifest: object) -> str:
        """End the running training with a version of a model trained on ``labels``."""
        weights = self._folder / "candidate.pt"
        weights.write_bytes(b"weights")
        self.status = "DONE"
        return self.stores[model].keep(weights, {"labels": labels, **manifest})

    def kill_a_training(self, name: str = "run", **request: object) -> Path:
        """Start a training process that kills itself; return the folder of its files."""
        folder = self._folder / "runs" / name
        process = multiprocessing.get_context("fork").Process(
            target=_record_run_and_kill_itself, args=(self.note, name, folder, request)
        )
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert folder.exists()
        self.status = "ERROR"
        return folder


def _record_run_and_kill_itself(note: Path, name: str, folder: Path, request: dict) -> None:
    with UnfinishedRun(note).recorded(Run(name, str(folder), request, request.get("interruptions", 0))):
        folder.mkdir(parents=True)
        (folder / "checkpoint.pt").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_training_starts_after_enough_new_or_changed_labels(tmp_path):
    server = Server(tmp_path, after=2)
    server.labels = {"a": "1"}
    assert not server.look()
    server.labels["b"] = "1"
    assert server.look()
    server.finish({"a": "1", "b": "1"})
    assert not server.look()
    server.labels |= {"a": "2", "b": "2"}
    assert server.look()


def test_c9_unused_version_does_not_trigger_another_training(tmp_path):
    """C9: neither does a restart of the server."""
    server = Server(tmp_path, after=2)
    server.labels = {"a": "1", "b": "1"}
    assert server.look()
    server.finish({"a": "1", "b": "1"}, verdict={"publish": False, "reason": "Kept, not in use."})
    assert not server.look()
    restarted = Server(tmp_path, after=2)
    restarted.labels = server.labels
    assert not restarted.look()
    assert restarted.store.serving_version() is None


def test_uploaded_version_does_not_hide_the_labels_of_the_last_training(tmp_path):
    server = Server(tmp_path, after=1)
    server.labels = {"a": "1"}
    server.finish({"a": "1"})
    server.store.keep(tmp_path / "candidate.pt", {"uploaded_by": "ada"})
    assert not server.look()


def test_label_added_during_a_training_counts_for_the_next(tmp_path):
    server = Server(tmp_path, after=2)
    server.labels = {"a": "1", "b": "1"}
    assert server.look()
    server.labels |= {"a": "2", "c": "1"}
    assert not server.look()
    server.finish({"a": "1", "b": "1"})
    assert server.look()
    assert len(server.started) == 2


def test_failed_training_is_not_repeated_with_the_same_labels(tmp_path):
    server = Server(tmp_path, after=1)
    server.labels = {"a": "1"}
    assert server.look()
    server.status = "ERROR"
    assert not server.look()
    server.labels["a"] = "2"
    assert server.look()


def test_no_automatic_training_if_disabled(tmp_path):
    server = Server(tmp_path, after=0)
    server.labels = {"a": "1"}
    assert not server.look()


MODELS = ("lung_tumor", "lung_tumor_click")


def test_model_for_clicks_is_trained_after_the_automatic_one(tmp_path):
    server = Server(tmp_path, after=2, models=MODELS)
    server.labels = {"a": "1", "b": "1"}
    assert server.look()
    assert not server.look(), "one training at a time"
    server.finish(server.labels)
    assert server.look()
    assert server.models_started == [*MODELS]
    server.finish(server.labels, model="lung_tumor_click")
    assert not server.look()


def test_model_for_clicks_is_trained_although_the_training_of_the_automatic_one_failed(tmp_path):
    server = Server(tmp_path, after=1, models=MODELS)
    server.labels = {"a": "1"}
    assert server.look()
    server.status = "ERROR"
    assert server.look()
    assert server.models_started == [*MODELS]


def test_stop_of_a_user_also_cancels_the_training_of_the_model_for_clicks(tmp_path):
    server = Server(tmp_path, after=1, models=MODELS)
    server.labels = {"a": "1"}
    assert server.look()
    server.status = "STOPPED"
    assert not server.look()
    server.labels = {"a": "2"}
    assert server.look(), "a new label allows another training"


def test_interrupted_training_of_the_model_for_clicks_is_restarted_or_concluded(tmp_path):
    server = Server(tmp_path, models=MODELS)
    server.kill_a_training("run", model="lung_tumor_click")
    assert server.look()
    assert server.models_started == ["lung_tumor_click"]
    server.kill_a_training("run", model="lung_tumor_click")
    version = server.finish({}, "lung_tumor_click", run="run", verdict={"publish": True, "reason": "because"})
    assert not server.look()
    assert server.stores["lung_tumor_click"].serving_version() == version
    assert server.store.serving_version() is None


def test_interrupted_training_of_a_model_without_weights_is_dropped(tmp_path, caplog):
    server = Server(tmp_path)
    server.kill_a_training(model="lung_tumor_click")
    assert not server.look()
    assert not server.note.exists()
    assert "not restarted" in caplog.text


def test_interrupted_training_is_reported_and_restarted_with_its_request(tmp_path, caplog):
    server = Server(tmp_path)
    folder = server.kill_a_training(max_epochs=7)
    assert server.look()
    assert server.started == [{"max_epochs": 7, "interruptions": 1}]
    assert not folder.exists()
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "interrupted" in record.getMessage()
    assert server.store.manifests() == []
    assert not server.look(), "it is already running"


def test_interrupted_training_is_not_restarted_forever(tmp_path, caplog):
    server = Server(tmp_path, after=1)
    server.labels = {"a": "1"}
    assert server.look()
    while server.status == "RUNNING":
        server.kill_a_training(**server.started[-1])
        server.look()
    assert len(server.started) == 4
    assert "not restarted" in caplog.messages[-1]
    assert not server.look()
    server.labels["a"] = "2"
    assert server.look(), "a new label allows another training"


def test_training_that_died_before_writing_its_note_counts_as_interrupted(tmp_path):
    server = Server(tmp_path)
    server.kill_a_training()
    assert server.look()
    server.status = "ERROR"  # the process died before it wrote its note
    assert server.look()
    assert [params["interruptions"] for params in server.started] == [1, 2]


def test_training_stopped_by_a_user_is_not_restarted(tmp_path, caplog):
    server = Server(tmp_path)
    folder = server.kill_a_training()
    server.status = "STOPPED"
    assert not server.look()
    assert not folder.exists()
    assert not server.note.exists()
    assert not caplog.records


def test_interrupted_automatic_training_is_dropped_if_now_disabled(tmp_path, caplog):
    server = Server(tmp_path, after=0)
    folder = server.kill_a_training(by_itself=True)
    server.status = None
    assert not server.look()
    assert not folder.exists()
    assert "manually" in caplog.text


@pytest.mark.parametrize("publish", [True, False])
def test_verdict_from_before_the_kill_is_carried_out(tmp_path, publish):
    server = Server(tmp_path)
    server.kill_a_training("run")
    version = server.finish({}, run="run", verdict={"publish": publish, "reason": "because"})
    assert not server.look()
    assert server.store.serving_version() == (version if publish else None)
    assert not server.note.exists()
    assert not server.started


def test_verdict_from_before_the_kill_does_not_replace_a_later_choice(tmp_path):
    server = Server(tmp_path)
    server.kill_a_training("run")
    server.finish({}, run="run", verdict={"publish": True, "reason": "because"})
    chosen = server.finish({})
    server.store.serve(chosen)
    assert not server.look()
    assert server.store.serving_version() == chosen


def test_incomplete_versions_are_removed(tmp_path):
    server = Server(tmp_path)
    server.kill_a_training()
    draft = tmp_path / "lung_tumor" / "versions" / ".part-version"
    draft.mkdir(parents=True)
    server.look()
    assert not draft.exists()


def test_running_training_is_not_taken_for_interrupted(tmp_path):
    server = Server(tmp_path)
    with UnfinishedRun(server.note).recorded(Run("run", str(tmp_path / "run"), {})):
        assert not server.look()
        with (
            pytest.raises(UserError, match="already running"),
            UnfinishedRun(server.note).recorded(Run("other", str(tmp_path / "other"), {})),
        ):
            pass
        assert server.note.exists()
    assert not server.note.exists()


def test_failed_training_removes_its_note_and_files(tmp_path):
    unfinished = UnfinishedRun(tmp_path / "training.json")
    folder = tmp_path / "run"
    with pytest.raises(ValueError, match="failed"), unfinished.recorded(Run("run", str(folder), {})):
        folder.mkdir()
        raise ValueError("failed")
    assert not folder.exists()
    assert unfinished.interrupted() is None
    assert not (tmp_path / "training.json").exists()
