"""Background threads of the server: waiting for the first scan, and stopping all threads."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import psutil
import pytest
import uvicorn
from monailabel.utils.async_tasks import utils as async_tasks

from lib.processes.worker import Worker
from lib.server import background
from lib.server.upstream_patches import end_tasks, stop_at_shutdown

SECONDS = 60


class Busy(Worker):
    """Blocks in its round until it is released."""

    def __init__(self) -> None:
        super().__init__("busy", failure="It failed", pause=3600, low_priority=False)
        self.let_go, self.begun = threading.Event(), threading.Event()

    def run_once(self) -> None:
        self.begun.set()
        assert self.let_go.wait(SECONDS)


def test_all_threads_are_stopped_and_a_busy_one_is_reported():
    workers = [Busy(), Busy()]
    for worker in workers:
        worker.start()
        assert worker.begun.wait(SECONDS)
    workers[0].let_go.set()
    assert not background.stop_background(workers, seconds=0.2)
    workers[1].let_go.set()
    assert background.stop_background(workers, seconds=SECONDS)


def test_exiting_server_does_not_wait_for_the_first_scan(monkeypatch):
    monkeypatch.setattr(background, "_FIRST_ROUND_SECONDS", 10 * SECONDS)
    waiting = threading.Thread(
        target=background._wait_for_first_round,
        args=(SimpleNamespace(first_round=threading.Event()), lambda: True),
        daemon=True,
    )
    waiting.start()
    waiting.join(SECONDS)
    assert not waiting.is_alive()


def test_background_work_ends_when_uvicorn_shuts_down():
    async def app(scope, receive, send):
        raise AssertionError("nobody asks")

    stopped = threading.Event()
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None))
    stop_at_shutdown(server, lambda: stopped.set() is None, grace_seconds=1)

    async def main_loop() -> None:
        """Return at once."""

    server.main_loop = main_loop
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive()
    assert stopped.is_set()


@pytest.mark.parametrize("error", [psutil.NoSuchProcess(1), StopIteration(), IndexError()])
def test_a_task_is_killed_even_where_one_of_its_children_has_just_ended(monkeypatch, error):
    """Python waits for the thread that reads the task's output: a task that is left alone keeps the server alive."""

    def stop(method: str) -> None:
        raise error

    with subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({SECONDS})"]) as task:
        monkeypatch.setattr(async_tasks, "background_executors", {"train": ThreadPoolExecutor(1)})
        monkeypatch.setattr(async_tasks, "background_processes", {"train": {"1": task}})
        monkeypatch.setattr(async_tasks, "stop_background_task", stop)
        try:
            end_tasks()
            assert task.wait(SECONDS / 2) < 0
        finally:
            task.kill()
