"""The base class of all background threads."""

import logging
import threading
import time

import pytest

from lib.processes.worker import Worker

SECONDS = 60


class Rounds(Worker):
    """Runs the given functions, one per round."""

    def __init__(self, *rounds, pause=None, low_priority=False):
        super().__init__("rounds", failure="The round failed", pause=pause, low_priority=low_priority)
        self.rounds = list(rounds)
        self.done = threading.Semaphore(0)

    def run_once(self):
        try:
            return self.rounds.pop(0)() if self.rounds else False
        finally:
            self.done.release()


@pytest.fixture
def running():
    started = []

    def start(worker: Worker) -> Worker:
        started.append(worker)
        worker.start()
        return worker

    yield start
    for worker in started:
        worker.stop()
        assert worker.join(SECONDS)


def test_worker_without_a_pause_waits_to_be_woken(running):
    calls = []
    worker = running(Rounds(lambda: calls.append(1)))
    assert not worker.done.acquire(timeout=0.2)
    worker.wake()
    assert worker.done.acquire(timeout=SECONDS)
    assert calls == [1]


def test_worker_with_a_pause_starts_at_once_and_can_be_woken(running):
    worker = running(Rounds(pause=3600))
    assert worker.done.acquire(timeout=SECONDS)
    worker.wake()
    assert worker.done.acquire(timeout=SECONDS)


def test_rounds_follow_immediately_while_work_is_due(running):
    worker = running(Rounds(lambda: True, lambda: True, lambda: False, pause=3600))
    for _ in range(3):
        assert worker.done.acquire(timeout=SECONDS)
    assert not worker.done.acquire(timeout=0.2)


def test_wake_during_a_round_is_not_lost(running):
    begun, go_on = threading.Event(), threading.Event()

    def slow():
        begun.set()
        assert go_on.wait(SECONDS)

    worker = running(Rounds(slow, pause=3600))
    assert begun.wait(SECONDS)
    worker.wake()
    go_on.set()
    for _ in range(2):
        assert worker.done.acquire(timeout=SECONDS)


def failing(error):
    def fail():
        raise error

    return fail


@pytest.mark.parametrize(("error", "traceback"), [(OSError("disk full"), False), (ValueError("a bug"), True)])
def test_failed_round_is_logged_and_the_next_one_runs(running, caplog, error, traceback):
    with caplog.at_level(logging.WARNING, "lib.processes.worker"):
        worker = running(Rounds(failing(error), pause=0.01))
        for _ in range(2):
            assert worker.done.acquire(timeout=SECONDS)
    (record,) = [one for one in caplog.records if one.name == "lib.processes.worker"]
    assert record.getMessage().startswith("The round failed")
    assert bool(record.exc_info) is traceback


def test_stopped_worker_ends_within_a_round():
    begun = threading.Event()

    def endless():
        begun.set()
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            worker.check_stopped()

    worker = Rounds(endless, pause=3600)
    worker.start()
    assert begun.wait(SECONDS)
    assert not worker.join(0.05)
    worker.stop()
    assert worker.join(SECONDS)


def test_worker_that_never_started_counts_as_ended():
    worker = Rounds()
    worker.stop()
    assert worker.join(0)


def test_second_start_has_no_effect(running):
    worker = running(Rounds(pause=3600))
    worker.start()
    assert sum(thread.name == "rounds" for thread in threading.enumerate()) == 1
