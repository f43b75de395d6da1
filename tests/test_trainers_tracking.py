"""A finished training is logged in the user's MLflow: by a double of its client, since it is not installed here."""

import sys
from types import SimpleNamespace

import pytest

from lib.trainers.tracking import track

SCORES = {"dice": 0.84, "false_positives": 2.1, "found": 4, "lesions": 5, "patients": {"Doe^John": {}, "P2": {}}}
MANIFEST = {
    "version": "00002-20260101-120500",
    "parent": "pretrained",
    "run": "20260101-120000-000000",
    "labels": {"1.2.3": "ab", "1.2.4": "cd"},
    "trained_on": ["Doe^John", "P2"],
    "learned": "network and second stage",
    "settings": {"max_epochs": 20, "learning_rate": 0.0003},
    "verdict": {
        "outcome": "kept",
        "reason": "Kept, not in use: its Dice collapses on Doe^John.",
        "p": 0.25,
        "published": SCORES,
        "candidate": SCORES | {"dice": None, "false_positives": 1.3},
    },
}


class Client:
    """The functions of ``mlflow.MlflowClient`` that are used; it records their calls."""

    calls: list[tuple] = []  # noqa: RUF012
    experiment = None

    def __init__(self, tracking_uri):
        self.calls.append(("uri", tracking_uri))

    def get_experiment_by_name(self, name):
        return self.experiment

    def create_experiment(self, name):
        self.calls.append(("experiment", name))
        return "7"

    def create_run(self, experiment_id, start_time=None, tags=None, run_name=None):
        self.calls.append(("run", experiment_id, run_name, tags))
        return SimpleNamespace(info=SimpleNamespace(run_id="r"))

    def log_param(self, run_id, key, value):
        self.calls.append(("param", key, value))

    def log_metric(self, run_id, key, value, timestamp=None):
        self.calls.append(("metric", key, value))

    def set_terminated(self, run_id, status=None, end_time=None):
        self.calls.append(("end", status))


@pytest.fixture
def client(monkeypatch):
    monkeypatch.setattr(Client, "calls", [])
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=Client))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example")
    return Client


def test_settings_scores_and_verdict_are_logged_without_patients(client):
    track(MANIFEST, "lung_tumor", 1_800_000_000.0)
    assert client.calls[:2] == [("uri", "http://tracking.example"), ("experiment", "LungLabel")]
    (_, experiment, name, tags) = client.calls[2]
    assert (experiment, name) == ("7", MANIFEST["run"])
    assert tags["outcome"] == "kept" and tags["learned"] == "network and second stage"
    assert tags["version"] == MANIFEST["version"]
    assert ("param", "max_epochs", 20) in client.calls and ("param", "learning_rate", 0.0003) in client.calls
    metrics = {key: value for kind, key, value in [call for call in client.calls if call[0] == "metric"]}
    assert metrics["in_use_dice"] == 0.84 and metrics["new_false_positives"] == 1.3 and metrics["p"] == 0.25
    assert (metrics["labels"], metrics["patients"]) == (2, 2)
    assert "new_dice" not in metrics, "it was not finite"
    assert client.calls[-1] == ("end", "FINISHED")
    assert "Doe" not in str(client.calls)


def test_an_unmeasured_version_is_logged_too(client):
    client.experiment = None
    verdict = {"outcome": "kept", "reason": "", "candidate": None, "published": None, "p": None}
    track(MANIFEST | {"verdict": verdict}, "lung_tumor_click", 1_800_000_000.0)
    assert client.calls[-1] == ("end", "FINISHED")


def test_without_the_variable_nothing_is_imported(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setitem(sys.modules, "mlflow", None)  # importing it would fail
    track(MANIFEST, "lung_tumor", 0.0)


@pytest.mark.parametrize("missing", [True, False])
def test_without_mlflow_or_its_server_there_is_one_warning(client, monkeypatch, caplog, missing):
    def away(*arguments, **options):
        raise ConnectionError("the server is away")

    monkeypatch.setattr(client, "log_param", away)
    if missing:
        monkeypatch.setitem(sys.modules, "mlflow", None)
    track(MANIFEST, "lung_tumor", 0.0)
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "not recorded in MLflow" in record.getMessage()
