"""A busy machine stays responsive: waiting OpenMP threads sleep, and background work has low priority."""

import os
import subprocess
import sys
import threading

import psutil
import pytest
import requests
import torch

from lib.networks import AttentionResidualUNet
from lib.phantoms import DemoSeries
from lib.processes import priority
from lib.settings import APP_DIR, load_info
from tests.support.small_patients import write_small_patients
from tools.benchmark import busy


def niceness(process: psutil.Process) -> list[int]:
    return sorted(os.getpriority(os.PRIO_PROCESS, thread.id) for thread in process.threads())


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> list[DemoSeries]:
    return write_small_patients(tmp_path_factory.mktemp("small"), 2)


@pytest.fixture(scope="module")
def server(start_module_server, series, tmp_path_factory):
    """Start a server by plain ``monailabel start_server``, which loads PyTorch before the app."""
    models = tmp_path_factory.mktemp("models")
    torch.save(AttentionResidualUNet(**load_info()["network"]).state_dict(), models / "pretrained_lung_tumor.pt")
    options = {"model_dir": models, "scored_images": 0, "environment": {"OMP_WAIT_POLICY": None}}
    options["launcher"] = [sys.executable, "-m", "monailabel.main"]
    return start_module_server(series[0].directory, **options)


def test_r15_c13_server_waits_passively_however_it_was_started(server):
    """R15, C13: the process keeps its id and its environment, with one variable added."""
    environment = psutil.Process(server.process.pid).environ()
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "MONAI_LABEL_APP_DIR" not in environment
    assert server.log_text().count("Restarting with OMP_WAIT_POLICY=PASSIVE") == 1


def test_background_threads_of_the_server_have_low_priority(server):
    found = niceness(psutil.Process(server.process.pid))
    assert found.count(10) == 7, "index, SEGs, initial labels, scoring, registration, verification, previews of clicks"
    assert set(found) == {0, 10}


def test_benchmark_times_an_inference_alone_and_during_a_training(server, series, monkeypatch):
    """The training has the lowest priority and waits passively."""
    trainings, infer = [], busy._infer

    def watched(*arguments):
        trainings.append([(set(niceness(one)), one.environ()) for one in psutil.Process(server.process.pid).children()])
        return infer(*arguments)

    monkeypatch.setattr(busy, "_infer", watched)
    measured = busy.measure(server, series, rounds=1, patches_per_volume=2, patch_size=32)
    assert min(*measured.alone, *measured.during) > 0
    assert measured.ratio == measured.during[0] / measured.alone[0]
    assert min(measured.epochs, measured.cores) >= 0
    first, alone, ((found, environment),) = trainings
    assert first == alone == []
    assert found == {19}
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert requests.get(f"{server.url}/train/").json()["status"] == "STOPPED"


@pytest.mark.parametrize(("threads", "left"), [(1, 1), (2, 1), (8, 7)])
def test_training_leaves_one_core_free(monkeypatch, threads, left):
    lowered, kept = {}, []
    monkeypatch.setattr(os, "setpriority", lambda kind, thread, niceness: lowered.update({thread: niceness}))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", kept.append)
    priority.use_lowest_priority()
    assert kept == [left]
    assert lowered[threading.get_native_id()] == 19
    assert set(lowered.values()) == {19}


def test_background_thread_lowers_only_its_own_priority():
    seen = []

    def work():
        priority.work_in_background()
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=work)
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    thread.start()
    thread.join(timeout=60)
    assert seen == [10]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


def test_a_thread_of_a_lower_priority_keeps_it():
    """A server that was started with ``nice -n 15``: only root may raise a priority, others get an error."""
    seen = []

    def work():
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)
        priority.work_in_background()
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=60)
    assert seen == [15]


@pytest.mark.server
def test_commands_wait_passively_unless_the_user_set_a_policy():
    code = "import runpy, os, sys; sys.argv = ['main.py']\ntry: runpy.run_path('main.py', run_name='__main__')\n"
    code += "except SystemExit: print(os.environ['OMP_WAIT_POLICY'])"
    for given, used in (("", "PASSIVE"), ("ACTIVE", "ACTIVE")):
        environment = {**os.environ, "OMP_WAIT_POLICY": given}
        call = [sys.executable, "-c", code]
        told = subprocess.run(call, cwd=APP_DIR, env=environment, capture_output=True, text=True, timeout=120)
        assert told.stdout.split() == [used], told.stderr


def test_only_a_server_is_restarted(monkeypatch):
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("started again"))
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.delitem(sys.modules, "monailabel.app", raising=False)
    priority.restart_waiting_passively()
