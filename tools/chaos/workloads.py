"""Workloads during which the server is killed: each function starts one and returns when it is time to kill."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import numpy as np
import requests

from tools.chaos.submissions import Submissions
from tools.support.processes import ServerProcess
from tools.support.sandbox import Sandbox, alive, trainings
from tools.support.waiting import wait_for

_SUBMITTERS = 3
_PATIENCE_SECONDS = 600
# Between two polls: a version is written in milliseconds, a training starts in seconds, and searching all processes for
# it every millisecond would take the core that it needs.
_FAST_SECONDS, _SLOW_SECONDS = 0.001, 0.05
# A few patches per epoch: the test is about writing files, not about the result of the training.
_TRAINING = {"patches_per_volume": 2, "patch_size": 32, "folds": 0}
_SHORT, _LONG = 1, 10_000  # epochs


def saving(sandbox: Sandbox, server: ServerProcess, submissions: Submissions, rng: np.random.Generator) -> None:
    """Submit labels from three threads until the server is killed."""

    def submit(seed: int) -> None:
        own = np.random.default_rng(seed)
        with contextlib.suppress(requests.RequestException):
            while not submissions.refused:
                submissions.send(server.url, own)

    for seed in rng.integers(2**32, size=_SUBMITTERS):
        threading.Thread(target=submit, args=(int(seed),), daemon=True).start()
    enough = len(submissions.accepted) + rng.integers(4)
    _wait(lambda: submissions.on_their_way and len(submissions.accepted) >= enough, server)
    time.sleep(rng.uniform(0, 0.2))


def training(sandbox: Sandbox, server: ServerProcess, submissions: Submissions, rng: np.random.Generator) -> None:
    """Start a training of many epochs; return while its process starts or while it trains."""
    if not _is_training(server):
        _train(server, submissions, rng, _LONG)
    _wait(lambda: trainings(server), server, _SLOW_SECONDS)
    if rng.random() < 0.75:
        _wait(sandbox.is_training, server, _SLOW_SECONDS)
    time.sleep(rng.uniform(0, 4))


def publishing_a_training(
    sandbox: Sandbox, server: ServerProcess, submissions: Submissions, rng: np.random.Generator
) -> None:
    """Let a training finish, and return while its version is being stored."""
    wait_for(lambda: _has_stopped_training(server), "the end of a training", seconds=_PATIENCE_SECONDS, interval=0.2)
    _train(server, submissions, rng, _SHORT)
    started = trainings(server)
    _wait_for_a_version(sandbox, server, rng, lambda: not any(alive(process) for process in started))


def publishing_an_upload(
    sandbox: Sandbox, server: ServerProcess, submissions: Submissions, rng: np.random.Generator
) -> None:
    """Upload weights and put them into use."""

    def upload() -> None:
        with contextlib.suppress(requests.RequestException), sandbox.weights.open("rb") as file:
            files = {"file": ("model.pt", file)}
            kept = requests.put(f"{server.url}/model/lung_tumor", files=files, timeout=_PATIENCE_SECONDS).json()
            version = {"version": kept["version"]}
            requests.post(f"{server.url}/model/lung_tumor/serve", params=version, timeout=_PATIENCE_SECONDS)
            done.set()

    done = threading.Event()
    threading.Thread(target=upload, daemon=True).start()
    _wait_for_a_version(sandbox, server, rng, done.is_set)


def _is_training(server: ServerProcess) -> bool:
    """Return whether a training is running or about to start."""
    task = requests.get(f"{server.url}/train/", timeout=_PATIENCE_SECONDS).json()
    return task.get("status") in ("SUBMITTED", "RUNNING")


def _has_stopped_training(server: ServerProcess) -> bool:
    """Stop the training if one is running; return whether none was."""
    running = _is_training(server)
    if running:
        requests.delete(f"{server.url}/train/", timeout=_PATIENCE_SECONDS)
    return not running


def _train(server: ServerProcess, submissions: Submissions, rng: np.random.Generator, epochs: int) -> None:
    if not submissions.accepted:
        submissions.send(server.url, rng)
    parameters = {**_TRAINING, "max_epochs": epochs}
    answer = requests.post(f"{server.url}/train/lung_tumor", json=parameters, timeout=_PATIENCE_SECONDS)
    answer.raise_for_status()
    _wait(lambda: trainings(server), server, _SLOW_SECONDS)


def _wait_for_a_version(
    sandbox: Sandbox, server: ServerProcess, rng: np.random.Generator, ended: Callable[[], bool]
) -> None:
    """Wait until a version is being written, or has just been stored and is about to be put into use."""
    _wait(lambda: sandbox.draft.exists() or ended(), server)
    if rng.random() < 0.5:
        time.sleep(rng.uniform(0, 0.06))
    else:
        _wait(lambda: not sandbox.draft.exists(), server)
        time.sleep(rng.uniform(0, 0.006))


def _wait(condition: Callable[[], object], server: ServerProcess, interval: float = _FAST_SECONDS) -> None:
    """Wait for a condition; one that may hold only for milliseconds is polled every millisecond."""

    def is_met() -> object:
        if server.process.poll() is not None:
            raise RuntimeError(f"the server ended by itself; see {server.log}")
        return condition()

    wait_for(is_met, f"the moment to kill; log: {server.log}", seconds=_PATIENCE_SECONDS, interval=interval)
