"""C13: inferences wait in a queue of their own, not in the threads that serve all routes."""

import asyncio
import gc
import json
import socket
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor, wait
from types import SimpleNamespace

import numpy as np
import pytest
import requests
import uvicorn
from fastapi import FastAPI, HTTPException

from lib.server.attention_routes import attention_router
from lib.server.error_responses import add_error_responses, handle_http_error
from lib.server.fair_turn import FairTurn
from lib.server.infer_routes import infer_router
from lib.server.request_queues import RequestQueues
from lib.server.task_routes import task_router
from lib.server.work_queue import WorkQueue
from lib.settings import load_info
from tools.support.processes import free_port
from tools.support.waiting import wait_for

WAITING = 60


class Finished:
    """Finished inferences by image; only with ``sharing``."""

    def __init__(self):
        self.sharing = False
        self.images = set()
        self.slow = ""
        self.go_on = threading.Event()
        self.waiting = 0

    def key(self, request):
        self.wait("key")
        return request["image"] if self.sharing else None

    def __contains__(self, key):
        return key in self.images

    def result(self, key, request):
        self.wait("result")
        params = {"model_version": "v1", "warnings": []}
        return {"label": None, "file": None, "params": params} if key in self else None

    def wait(self, what):
        if what == self.slow:
            self.waiting += 1
            assert self.go_on.wait(timeout=60)


class SlowApp:
    """The part of the app that these routes use; an inference ends on request."""

    def __init__(self):
        self.finished = Finished()
        self.settings = SimpleNamespace(info=load_info())
        self.queues = RequestQueues()
        self.go_on = threading.Event()
        self.began = []
        self.error = None

    def info(self):
        return {"models": ["lung_tumor"], "trainers": ["lung_tumor"]}

    def datastore(self):
        return SimpleNamespace(series=lambda image: None)

    def infer_again(self, key, request):
        return self.finished.result(key, request)

    def infer(self, request):
        self.began.append(request["image"])
        assert self.go_on.wait(timeout=60)
        if self.error:
            raise self.error
        self.finished.images.add(request["image"])
        return {"label": None, "file": None, "params": {"model_version": "v1", "warnings": []}}

    def mask_and_maps(self, image):
        self.infer({"image": image})
        return (np.zeros((1, 1, 1)),) * 3


@pytest.fixture
def app():
    return SlowApp()


@pytest.fixture
def url(app):
    server = FastAPI()
    for router in (infer_router(app), attention_router(app), task_router(app)):
        server.include_router(router)
    add_error_responses(server)
    port = free_port()
    running = uvicorn.Server(uvicorn.Config(server, port=port, log_level="error"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    wait_until(lambda: running.started)
    yield f"http://127.0.0.1:{port}"
    app.go_on.set()
    running.should_exit = True
    thread.join(timeout=60)


def wait_until(condition) -> None:
    wait_for(condition, "the queue", seconds=60, interval=0.02)


def infer(url: str, image: str, output: str = "json", **params) -> requests.Response:
    query = {"image": image, "output": output}
    return requests.post(f"{url}/infer/lung_tumor", params=query, data={"params": json.dumps(params)}, timeout=120)


def test_c13_other_routes_answer_while_inferences_wait(app, url):
    with ThreadPoolExecutor(WAITING) as clients:
        answers = [clients.submit(infer, url, str(number)) for number in range(WAITING)]
        wait_until(lambda: app.queues.inferences.waiting == WAITING - 1)
        assert requests.get(f"{url}/info/", timeout=30).json()["models"] == ["lung_tumor"]
        assert len(app.began) == 1
        assert infer(url, "x", output="sideways").status_code == 422, "an invalid request is refused at once"
        assert requests.post(f"{url}/infer/other", params={"image": "x"}, timeout=30).status_code == 404
        app.go_on.set()
        wait(answers, timeout=60)
        assert [answer.result().status_code for answer in answers] == [200] * WAITING
    assert sorted(app.began, key=int) == [str(number) for number in range(WAITING)]
    assert not app.queues.inferences.running


def test_equal_requests_are_computed_once(app, url):
    """One that waits is answered as soon as the same inference is finished, before the turn of others."""
    app.finished.sharing = True
    app.finished.images.add("done")
    assert infer(url, "done").headers["Server-Timing"].endswith(", kept")
    with ThreadPoolExecutor(3) as clients:
        first = clients.submit(infer, url, "1")
        wait_until(lambda: app.began == ["1"])
        same = clients.submit(infer, url, "1")
        fresh = clients.submit(infer, url, "1", fresh=True)
        wait_until(lambda: app.queues.inferences.waiting == 2)
        assert infer(url, "done").ok, "without waiting"
        app.go_on.set()
        timings = [one.result(60).headers["Server-Timing"] for one in (first, same, fresh)]
    assert ["kept" in one for one in timings] == [False, True, False]
    assert app.began == ["1", "1"], "the second one is the fresh one"
    refused = infer(url, "1", fresh="yes")
    assert (refused.status_code, refused.json()["detail"]) == (400, "fresh must be true or false, not 'yes'.")


@pytest.mark.parametrize("slow", ["key", "result"])
def test_other_routes_answer_while_finished_inferences_are_sent(slow, app, url):
    """Each takes a thread of those that serve all routes: while a PACS is asked for its files, and for its mask."""
    app.finished.sharing = True
    app.finished.images.add("done")
    app.finished.slow = slow
    with ThreadPoolExecutor(WAITING) as clients:
        try:
            answers = [clients.submit(infer, url, "done") for _ in range(WAITING)]
            wait_until(lambda: app.finished.waiting == 2)
            assert requests.get(f"{url}/info/", timeout=30).ok
            assert app.finished.waiting == 2
        finally:
            app.finished.go_on.set()
        assert [one.result(60).status_code for one in answers] == [200] * WAITING


def test_an_equal_request_is_computed_if_the_first_fails(app, url):
    app.finished.sharing = True
    app.error = OSError(28, "No space left on device")
    with ThreadPoolExecutor(2) as clients:
        first = clients.submit(infer, url, "1")
        wait_until(lambda: app.began == ["1"])
        same = clients.submit(infer, url, "1")
        wait_until(lambda: app.queues.inferences.waiting == 1)
        app.go_on.set()
        assert [one.result(60).status_code for one in (first, same)] == [507, 507]
    assert app.began == ["1", "1"]


def test_c13_full_queue_is_503_with_retry_after(app, url):
    """C13: for masks and for attention maps."""
    app.queues.inferences._max_waiting = 2
    with ThreadPoolExecutor(3) as clients:
        answers = [clients.submit(infer, url, "running")]
        wait_until(lambda: app.began)
        answers += [clients.submit(infer, url, str(number)) for number in range(2)]
        wait_until(lambda: app.queues.inferences.waiting == 2)
        for refused in (infer(url, "one more"), requests.get(f"{url}/attention/1.2", timeout=30)):
            assert refused.status_code == 503
            assert refused.json()["detail"].startswith("2 inferences are waiting")
            assert int(refused.headers["Retry-After"]) >= 1
        app.go_on.set()
        wait(answers, timeout=60)
        assert [answer.result().status_code for answer in answers] == [200] * 3


def test_c13_disconnected_client_is_skipped(app, url):
    with ThreadPoolExecutor(2) as clients:
        first = clients.submit(infer, url, "first")
        wait_until(lambda: app.began)
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as gone:
            gone.sendall(b"POST /infer/lung_tumor?image=gone HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            wait_until(lambda: app.queues.inferences.waiting == 1)
        wait_until(lambda: app.queues.inferences.waiting == 0)
        last = clients.submit(infer, url, "last")
        app.go_on.set()
        assert (first.result(60).status_code, last.result(60).status_code) == (200, 200)
    assert app.began == ["first", "last"]


def test_r15_failed_inference_does_not_stop_the_queue(app, url):
    """R15: a full disk is 507; the next inference in the queue runs."""
    app.go_on.set()
    app.error = OSError(28, "No space left on device")
    answer = infer(url, "1")
    assert answer.status_code == 507
    assert "cannot write to its disk" in answer.json()["detail"]
    app.error = None
    answer = infer(url, "2")
    assert answer.status_code == 200
    assert answer.headers["Server-Timing"].startswith("queue;dur=")


def test_a_failed_inference_keeps_no_voxels():
    """They are hundreds of megabytes, and Python looks for cycles of references only now and then."""

    class Voxels:
        """An object that tells when it is gone."""

    made = []

    def fail() -> None:
        voxels = Voxels()
        made.append(weakref.ref(voxels))
        raise ValueError("no lungs")

    async def scenario() -> None:
        async def is_disconnected() -> bool:
            return False

        queue = WorkQueue("inferences")
        with pytest.raises(ValueError, match="no lungs"):
            await queue.run(SimpleNamespace(is_disconnected=is_disconnected, state=SimpleNamespace()), fail)
        deadline = time.monotonic() + 10
        while made[0]() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    gc.disable()
    try:
        asyncio.run(scenario())
        assert made[0]() is None
    finally:
        gc.enable()


def test_c13_run_sync_is_refused(url):
    """C13: it would occupy a thread for hours."""
    for path in ("train/lung_tumor", "train/", "scoring/", "scoring/uncertainty", "batch/infer/lung_tumor"):
        answer = requests.post(f"{url}/{path}", params={"run_sync": True}, timeout=30)
        assert answer.status_code == 400
        assert "run_sync is not supported" in answer.json()["detail"]


def test_s17_invalid_values_are_refused_before_queueing(app, url):
    wrong = {"params": '{"threshold": "0,5"}'}
    answer = requests.post(f"{url}/infer/lung_tumor", params={"image": "1"}, data=wrong, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("threshold must be a number above 0 and below 1, not '0,5'.")
    assert not app.began


class Client:
    """A request whose client is still there, or not."""

    def __init__(self, connected=True):
        self.connected = connected
        self.state = SimpleNamespace()

    async def is_disconnected(self):
        return not self.connected


def test_jobs_run_in_the_order_of_the_requests():
    queue, done = WorkQueue("things"), []

    async def run_all():
        jobs = [asyncio.ensure_future(queue.run(Client(), lambda n=n: done.append(n))) for n in range(9)]
        jobs.append(asyncio.ensure_future(queue.run(Client(connected=False), lambda: done.append("gone"))))
        return await asyncio.gather(*jobs, return_exceptions=True)

    *_, last = asyncio.run(run_all())
    assert done == list(range(9))
    assert isinstance(last, HTTPException)
    assert not queue.running
    assert queue.waiting == 0


def test_users_take_turns(monkeypatch):
    """One who sends many requests at once does not make the others wait for all of them."""
    queue, done = WorkQueue("things"), []
    clock = SimpleNamespace(monotonic=lambda: len(done))  # each piece of work takes a second
    monkeypatch.setattr("lib.server.work_queue.time", clock)
    sent = [("program", n) for n in range(5)] + [("reader", n) for n in range(2)] + [("gone", 0), ("other", 0)]

    async def run_all():
        clients = {user: Client(connected=user != "gone") for user, _ in sent}
        jobs = [queue.run(clients[user], lambda one=(user, n): done.append(one), user) for user, n in sent]
        await asyncio.gather(*jobs, return_exceptions=True)
        return clients["other"].state.durations

    durations = asyncio.run(run_all())
    assert [user for user, _ in done] == [
        "program",
        "program",
        "reader",
        "other",
        "program",
        "reader",
        "program",
        "program",
    ]
    assert [n for user, n in done if user == "program"] == [*range(5)]
    assert durations == (3, 1, False)
    assert durations.server_timing == "queue;dur=3000.0, work;dur=1000.0"
    assert not queue.busy


def test_a_cancelled_request_passes_its_turn_on():
    async def scenario() -> None:
        turn = FairTurn()
        await turn.acquire("first")
        cancelled, following = (asyncio.ensure_future(turn.acquire(user)) for user in ("second", "third"))
        await asyncio.sleep(0)
        turn.release()
        cancelled.cancel()  # at the moment of its turn
        await asyncio.wait_for(following, 10)
        turn.release()
        assert not turn.locked()

    asyncio.run(scenario())


def test_c13_status_499_is_answered():
    """C13: http.HTTPStatus has no 499."""
    answer = asyncio.run(handle_http_error(SimpleNamespace(), HTTPException(499, "gone")))
    assert answer.status_code == 499
