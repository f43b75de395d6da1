"""Killing a process of the server, with a record of what it was doing."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from tools.chaos.submissions import Submissions
from tools.support.processes import ServerProcess
from tools.support.sandbox import Sandbox, alive, trainings
from tools.support.waiting import wait_for

_ORPHAN_SECONDS = 60


@dataclass(frozen=True)
class Kill:
    """Record of a process killed by SIGKILL.

    Attributes:
        victim: ``server``, ``training``, or ``group`` for both at once.
        phases: What was in progress, determined from the files afterwards.
        serving: Model version in use.
        interrupted: Whether a training was interrupted.
    """

    victim: str
    phases: tuple[str, ...]
    serving: str | None
    interrupted: bool


def kill(
    sandbox: Sandbox,
    server: ServerProcess,
    victims: Sequence[str],
    submissions: Submissions,
    rng: np.random.Generator,
    known: Collection[str],
) -> Kill:
    """Kill one of the running processes.

    Args:
        sandbox: Folders of the server.
        server: The running server.
        victims: Victims to choose from; ``training`` is skipped if none is running.
        submissions: Submissions, for those in flight.
        rng: Random generator that chooses the victim.
        known: Versions that existed before.

    Raises:
        TimeoutError: A training outlived its server.
        AssertionError: A training published after the end of its server.
    """
    started = trainings(server)
    on_their_way = len(submissions.on_their_way)
    victim = str(rng.choice([victim for victim in victims if started or victim != "training"]))
    if victim == "training":
        for process in started:
            process.kill()
    else:
        {"server": os.kill, "group": os.killpg}[victim](server.process.pid, signal.SIGKILL)
        server.process.wait()
    before = (sandbox.models.serving_version(), sandbox.versions())
    wait_for(
        lambda: not any(alive(process) for process in started),
        "the end of a training whose server was killed",
        seconds=_ORPHAN_SECONDS,
        interval=0.01,
    )
    after = (sandbox.models.serving_version(), sandbox.versions())
    assert victim == "training" or before == after, "a training published after its server's end"
    phases = [*(["labels on their way"] if on_their_way else []), *_phases(sandbox, known, bool(started))]
    return Kill(victim, tuple(phases) or ("nothing",), before[0], sandbox.note.exists())


def _phases(sandbox: Sandbox, known: Collection[str], was_training: bool) -> list[str]:
    new = sandbox.versions().keys() - known
    if sandbox.draft.exists():
        return ["a version half written"]
    if sandbox.models.serving_version() in new:
        return ["a version just served"]
    if new:
        return ["a version kept, not serving yet"]
    if sandbox.is_training():
        return ["a training running"]
    return ["a training starting"] if was_training else []
