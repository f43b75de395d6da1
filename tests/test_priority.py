"""A busy machine stays usable: OpenMP's threads sleep while they wait, and what nobody waits for comes last."""

import os
import subprocess
import sys
import threading
import time

import psutil
import pytest
import requests
import torch

from lib import priority
from tests.support.client import put_label
from tests.support.server import REPOSITORY


def niceness(process: psutil.Process) -> list[int]:
    return sorted(os.getpriority(os.PRIO_PROCESS, thread.id) for thread in process.threads())


@pytest.fixture(scope="module")
def server(start_module_server, phantom_studies):
    """Started as by plain ``monailabel start_server``: PyTorch is loaded before the app has a say."""
    server = start_module_server(phantom_studies.directory, environment={"OMP_WAIT_POLICY": None})
    series = phantom_studies.of_patient("LUNG-003")
    assert put_label(server, series.series_uid, series.truth).status_code == 200
    return server


def test_the_server_waits_passively_however_it_was_started(server):
    """R15/C13: the process is the one that was started, with its own environment and one variable more."""
    environment = psutil.Process(server.process.pid).environ()
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "MONAI_LABEL_APP_DIR" not in environment
    assert server.log_text().count("Starting again with OMP_WAIT_POLICY=PASSIVE") == 1


def test_the_servers_own_background_is_of_low_priority(server):
    found = niceness(psutil.Process(server.process.pid))
    assert found.count(10) == 4, "index, SEGs, initial labels, scoring"
    assert set(found) == {0, 10}


def test_a_training_comes_last(server):
    answer = requests.post(f"{server.url}/train/lung_tumor", json={"max_epochs": 1000, "patches_per_volume": 8})
    assert answer.status_code == 200
    try:
        end = time.monotonic() + 120
        found = [0]
        while set(found) != {19} and time.monotonic() < end:
            time.sleep(0.5)
            (training,) = psutil.Process(server.process.pid).children()
            found = niceness(training)
        assert set(found) == {19}
        assert training.environ()["OMP_WAIT_POLICY"] == "PASSIVE"
    finally:
        requests.delete(f"{server.url}/train/")


@pytest.mark.parametrize(("threads", "left"), [(1, 1), (2, 1), (8, 7)])
def test_a_training_leaves_one_core_to_the_others(monkeypatch, threads, left):
    lowered, kept = {}, []
    monkeypatch.setattr(os, "setpriority", lambda kind, thread, niceness: lowered.update({thread: niceness}))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", kept.append)
    priority.give_way()
    assert kept == [left]
    assert lowered[threading.get_native_id()] == 19
    assert set(lowered.values()) == {19}


def test_a_thread_in_the_background_lowers_no_other():
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


def test_commands_wait_passively_and_a_users_own_value_stays():
    code = "import runpy, os, sys; sys.argv = ['main.py']\ntry: runpy.run_path('main.py', run_name='__main__')\n"
    code += "except SystemExit: print(os.environ['OMP_WAIT_POLICY'])"
    for given, used in (("", "PASSIVE"), ("ACTIVE", "ACTIVE")):
        environment = {**os.environ, "OMP_WAIT_POLICY": given}
        call = [sys.executable, "-c", code]
        told = subprocess.run(call, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120)
        assert told.stdout.split() == [used], told.stderr


def test_only_a_server_starts_again(monkeypatch):
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("started again"))
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.delitem(sys.modules, "monailabel.app", raising=False)
    priority.restart_waiting_passively()
